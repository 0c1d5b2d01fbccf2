import t from "tap";
import { objectKey } from "../../../src/storage/s3/object.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { openS3, s3ConfigOf, s3Prefix } from "../../fixtures/s3-fixture.ts";
import { refused, startS3 } from "../../fixtures/scripted-s3.ts";
import { noSignal } from "../../fixtures/shared-blobs-suite.ts";

const hour = 3_600_000;

t.test("uploads of ours that were begun more than a day ago are aborted", async (t) => {
  const s3 = await startS3(t);
  const clock = new ManualClock();
  const { blobs } = openS3(t, s3ConfigOf(s3.url), { clock: clock.read });
  const begin = (key: string, age: number) =>
    s3.uploads.set(`${key}-${age}`, { key, headers: {}, initiated: clock.now - age, parts: new Map() });
  const keys = ["a", "b", "c"].map((text) => objectKey(s3Prefix, digestOf(Buffer.from(text))));
  for (const key of keys) for (const age of [25, 30, 23]) begin(key, age * hour);
  begin("mirror/other", 100 * hour);
  begin("blobs/sha256/elsewhere", 100 * hour);
  s3.pageSize = 2;
  t.equal(await blobs.sweep(noSignal()), 6);
  t.same(
    [...s3.uploads.values()].map(({ key, initiated }) => [key, (clock.now - initiated) / hour]).sort(),
    [...keys.map((key) => [key, 23]), ["blobs/sha256/elsewhere", 100], ["mirror/other", 100]].sort(),
  );
  t.equal(await blobs.sweep(noSignal()), 0);
  clock.advance(hour + 1);
  t.equal(await blobs.sweep(noSignal()), 3);
});

t.test("one that somebody else aborts meanwhile is no failure; a failing S3 is", async (t) => {
  const s3 = await startS3(t);
  const { blobs } = openS3(t, s3ConfigOf(s3.url));
  s3.uploads.set("x", { key: `${s3Prefix}blobs/x`, headers: {}, initiated: 0, parts: new Map() });
  const lifted = s3.faultOf("abort", refused(404, "NoSuchUpload"));
  t.equal(await blobs.sweep(noSignal()), 1);
  lifted();
  s3.faultOf("uploads", refused(403, "AccessDenied"));
  await t.rejects(blobs.sweep(noSignal()), { name: "StoreError" });
  t.equal(blobs.state, "closed", "reading may be allowed nevertheless");
});

t.test("a server that goes in circles is left", async (t) => {
  const s3 = await startS3(t);
  const { blobs } = openS3(t, s3ConfigOf(s3.url));
  const body =
    "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker></ListMultipartUploadsResult>";
  s3.faultOf("uploads", { status: 200, body, headers: { "content-type": "application/xml" } });
  t.equal(await blobs.sweep(noSignal()), 0);
  t.equal(s3.count("uploads"), 2);
});
