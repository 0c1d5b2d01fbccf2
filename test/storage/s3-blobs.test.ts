import t from "tap";
import { s3ConfigOf, s3House } from "../fixtures/s3-house.ts";
import { startS3 } from "../fixtures/scripted-s3.ts";
import { sharedBlobsSuite } from "../fixtures/shared-blobs-suite.ts";

t.test("the suite of every SharedBlobs", async (t) => {
  const s3 = await startS3(t);
  const { blobs, notices, states } = s3House(t, s3ConfigOf(s3.url));
  await sharedBlobsSuite(t, async () => blobs);
  t.same(notices, [], "nothing of it is a failure of S3");
  t.same(states, []);
  t.equal(s3.uploads.size, 0, "no upload is left behind");
  t.same(blobs.load, { transfers: 0, uploadBytes: 0 });
});
