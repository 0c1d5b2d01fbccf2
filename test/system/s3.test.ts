// The shared store on real S3 servers: Ceph's gateway, which knows the conditional put, and Swift, which does not.
import t from "tap";
import { s3House } from "../fixtures/s3-house.ts";
import { sharedBlobsSuite } from "../fixtures/shared-blobs-suite.ts";
import { cephPrograms, startCeph } from "./fixtures/ceph.ts";
import { requires } from "./fixtures/requires.ts";
import { configFor, makeBucket, unfinishedUploads } from "./fixtures/s3-server.ts";
import { startSwift, swiftPrograms } from "./fixtures/swift.ts";

t.setTimeout(300_000);

for (const [name, programs, start] of [
  ["Ceph", cephPrograms, startCeph],
  ["Swift", swiftPrograms, startSwift],
] as const) {
  t.test(name, async (t) => {
    if (!requires(t, ...programs)) return;
    const server = await start(t);
    await makeBucket(server, "blobs");
    const { blobs, notices, states } = s3House(t, configFor(server, "blobs"));
    await sharedBlobsSuite(t, async () => blobs);
    t.same(notices, []);
    t.same(states, []);
    t.equal(await unfinishedUploads(server, "blobs"), 0);
  });
}
