import { randomBytes } from "node:crypto";
import t, { type Test } from "tap";
import { objectKey } from "../../../src/storage/s3/object.ts";
import { maxUploadMemory, partLength, partSize } from "../../../src/storage/s3/upload-source.ts";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { eventually, gate } from "../../fixtures/manual-time.ts";
import { openS3, s3ConfigOf, s3Prefix } from "../../fixtures/s3-fixture.ts";
import { errorBody } from "../../fixtures/s3-protocol.ts";
import { refused, type S3Fault, startS3 } from "../../fixtures/scripted-s3.ts";
import { noSignal, readerOf, share } from "../../fixtures/shared-blobs-suite.ts";

const MiB = 1024 * 1024;
const bytes = someBytes(2 * partSize + 1);
const digest = digestOf(bytes);
const key = objectKey(s3Prefix, digest);

async function started(t: Test) {
  const s3 = await startS3(t);
  return { s3, ...openS3(t, s3ConfigOf(s3.url)) };
}

t.test("parts grow with the blob, and a part always fits in memory", async (t) => {
  t.equal(partLength(partSize + 1), 16 * MiB);
  t.equal(partLength(160_000 * MiB), 16 * MiB);
  t.equal(partLength(160_000 * MiB + 1), 17 * MiB);
  t.equal(partLength(640_000 * MiB), 64 * MiB);
  t.throws(() => partLength(640_000 * MiB + 1), { name: "StoreError" });
  for (const size of [partSize + 1, 200_000 * MiB, 640_000 * MiB])
    t.ok(Math.ceil(size / partLength(size)) <= 10_000);
});

t.test("four parts at once, 64 MiB in memory, over all uploads", async (t) => {
  const { s3, blobs } = await started(t);
  let most = 0;
  const open = gate();
  s3.fault(({ operation }) => {
    most = Math.max(most, blobs.load.uploadBytes);
    return operation === "part" ? { holdUntil: open.opened } : undefined;
  });
  const other = randomBytes(4 * partSize);
  const both = Promise.all([share(blobs, bytes), share(blobs, other)]);
  await eventually("memory is used up", () => s3.count("part") === 4);
  open.open();
  await both;
  t.equal(s3.most.get("part"), 4);
  t.equal(most, maxUploadMemory);
  t.equal(blobs.load.uploadBytes, 0);
  t.ok(s3.objects.get(key)?.bytes.equals(bytes));
  t.ok(s3.objects.get(objectKey(s3Prefix, digestOf(other)))?.bytes.equals(other));
  const sizes = s3.requests.filter(({ operation }) => operation === "part").map(({ received }) => received);
  t.ok(sizes.every((size) => size <= partSize));
  t.equal(s3.uploads.size, 0);
});

t.test("one that is there is not sent again", async (t) => {
  const { s3, blobs } = await started(t);
  await share(blobs, bytes);
  const sent = s3.count("part");
  await share(blobs, bytes);
  t.equal(s3.count("part"), sent);
  t.equal(s3.count("create"), 1);
});

t.test("an upload that fails is aborted and nothing is visible", async (t) => {
  const cases: readonly [string, "create" | "part" | "complete", S3Fault][] = [
    ["create", "create", refused(500, "InternalError")],
    ["a part", "part", refused(500, "InternalError")],
    ["a part is cut", "part", { reset: true }],
    ["complete", "complete", refused(500, "InternalError")],
    [
      "complete answers 200 with an error in it",
      "complete",
      { status: 200, body: errorBody("InternalError"), headers: { "content-type": "application/xml" } },
    ],
    ["complete answers 200 with nothing", "complete", { status: 200, body: "" }],
  ];
  for (const [name, operation, fault] of cases)
    await t.test(name, async (t) => {
      const { s3, blobs, notices } = await started(t);
      // A scripted 200 would complete it first.
      if (operation === "complete")
        s3.fault((request) => (request.operation === "complete" ? { ...fault, undone: true } : undefined));
      else s3.faultOf(operation, fault);
      await t.rejects(share(blobs, bytes), { name: "StoreError", code: "unavailable" });
      t.equal(s3.objects.size, 0);
      t.equal(s3.uploads.size, 0);
      t.ok(notices.length > 0);
      t.same(blobs.load, { transfers: 0, uploadBytes: 0 });
    });
});

t.test("an error in a 200 that passes", async (t) => {
  const { s3, blobs } = await started(t);
  const fault = {
    status: 200,
    body: errorBody("InternalError"),
    headers: { "content-type": "application/xml" },
  };
  s3.faultOf("complete", { ...fault, undone: true }, 1);
  await share(blobs, bytes);
  t.ok(s3.objects.get(key)?.bytes.equals(bytes));
  t.equal(s3.count("complete"), 2);
});

t.test("the lost answer of a completed upload is a success", async (t) => {
  const { s3, blobs } = await started(t);
  s3.faultOf("complete", { loseAnswer: true });
  await share(blobs, bytes);
  t.ok(s3.objects.get(key)?.bytes.equals(bytes));
  t.equal(s3.uploads.size, 0);
});

t.test("somebody else was first", async (t) => {
  const { s3, blobs, notices } = await started(t);
  s3.fault(({ operation }) => {
    if (operation === "complete") s3.objects.set(key, { bytes, headers: {}, modifiedAt: 1 });
    return undefined;
  });
  await share(blobs, bytes);
  t.equal(s3.objects.get(key)?.modifiedAt, 1, "and stays");
  t.equal(s3.uploads.size, 0, "our upload is aborted");
  t.same(notices, []);
});

t.test("a server that does not know the condition for it", async (t) => {
  const { s3, blobs } = await started(t);
  s3.conditions.complete = "refuses";
  await share(blobs, bytes);
  await share(blobs, someBytes(2 * partSize, 6));
  const conditions = s3.requests
    .filter(({ operation }) => operation === "complete")
    .map(({ headers }) => headers["if-none-match"]);
  t.same(conditions, ["*", undefined, undefined]);
  t.equal(s3.objects.size, 2);
});

t.test("the caller gives up, or the disk breaks, in the middle", async (t) => {
  const { s3, blobs, notices } = await started(t);
  const giving = new AbortController();
  s3.fault(({ operation }) => {
    if (operation === "part" && s3.count("part") === 2) giving.abort();
    return undefined;
  });
  const put = blobs.put(digest, bytes.length, undefined, readerOf(bytes), giving.signal);
  await t.rejects(put, { name: "StoreError" });
  t.equal(s3.uploads.size, 0);
  const whole = readerOf(bytes);
  const broken = new Error("the disk is gone");
  const read = async (position: number, scratch: Buffer) => {
    if (position > partSize) throw broken;
    return await whole.read(position, scratch);
  };
  await t.rejects(blobs.put(digest, bytes.length, undefined, { read }, noSignal()), broken);
  t.equal(s3.uploads.size, 0);
  t.equal(s3.objects.size, 0);
  t.same(notices, [], "neither is S3's failure");
  t.same(blobs.load, { transfers: 0, uploadBytes: 0 });
});
