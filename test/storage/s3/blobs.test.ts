import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { objectKey } from "../../../src/storage/s3/object.ts";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { openS3, s3ConfigOf, s3Prefix } from "../../fixtures/s3-fixture.ts";
import { errorBody } from "../../fixtures/s3-protocol.ts";
import { refused, startS3 } from "../../fixtures/scripted-s3.ts";
import { share, sharedBlobsSuite } from "../../fixtures/shared-blobs-suite.ts";

const day = 24 * 3_600_000;
const bytes = someBytes(10_000);

t.test("the suite of every SharedBlobs", async (t) => {
  const s3 = await startS3(t);
  const { blobs, notices, states } = openS3(t, s3ConfigOf(s3.url));
  await sharedBlobsSuite(t, async () => blobs);
  t.same(notices, [], "nothing of it is a failure of S3");
  t.same(states, []);
  t.equal(s3.uploads.size, 0, "no upload is left behind");
  t.same(blobs.load, { transfers: 0, uploadBytes: 0 });
});

t.test("a blob that is used is made young again, once a day", async (t) => {
  const s3 = await startS3(t);
  const clock = new ManualClock();
  clock.now = Date.now();
  const encryption = { algorithm: "AES256" } as const;
  const { blobs } = openS3(t, s3ConfigOf(s3.url, { encryption }), { clock: clock.read });
  const digest = await share(blobs, bytes, "application/vnd.oci.image.manifest.v1+json");
  const object = () => s3.objects.get(objectKey(s3Prefix, digest));
  const before = object();
  await blobs.refresh(digest);
  t.equal(object(), before, "it is young");
  t.equal(s3.count("head"), 1);
  for (let i = 0; i < 10; i++) await blobs.refresh(digest);
  t.equal(s3.count("head"), 1, "and not asked about again");
  clock.advance(day + 60_000);
  await blobs.refresh(digest);
  t.not(object(), before);
  t.equal(s3.count("copy"), 1);
  t.match(object()?.headers, {
    "content-type": "application/vnd.oci.image.manifest.v1+json",
    "x-amz-metadata-directive": "REPLACE",
    "x-amz-server-side-encryption": "AES256",
  });
  t.ok(object()?.bytes.equals(bytes));
  await blobs.refresh(digest);
  t.equal(s3.count("copy"), 1);
});

t.test("a copy that S3 will not make is an error, a blob too large for it is not", async (t) => {
  const s3 = await startS3(t);
  const clock = { now: Date.now() + 2 * day };
  const { blobs } = openS3(t, s3ConfigOf(s3.url), { clock: () => clock.now });
  const digest = await share(blobs, bytes);
  s3.faultOf("copy", { status: 200, body: errorBody("InternalError"), undone: true });
  await t.rejects(blobs.refresh(digest), { name: "StoreError" });
  t.equal(s3.count("copy"), 2);
  s3.faultOf("head", { headers: { "content-length": String(6 * 1024 ** 3) } });
  await blobs.refresh(digest);
  t.equal(s3.count("head"), 2, "asked again, for it did not work");
  t.equal(s3.count("copy"), 2);
});

t.test("listing goes through all pages and passes over what is not ours", async (t) => {
  const s3 = await startS3(t);
  const { blobs } = openS3(t, s3ConfigOf(s3.url));
  const all = Array.from({ length: 25 }, (_, i) => someBytes(10, i + 1));
  for (const each of all) await share(blobs, each);
  for (const key of ["mirror/blobs/x", "mirror/blobs/sha256/00/short", "other/blobs/sha256/00/0"])
    s3.objects.set(key, { bytes, headers: {}, modifiedAt: 0 });
  s3.pageSize = 4;
  s3.requests.length = 0;
  const listed: Digest[] = [];
  for await (const { digest } of blobs.list()) listed.push(digest);
  t.same(listed.sort(), all.map((each) => digestOf(each)).sort());
  t.equal(s3.count("list"), 7);
  s3.faultOf("list", refused(403, "AccessDenied"));
  await t.rejects(
    async () => {
      for await (const { digest } of blobs.list()) t.fail(digest);
    },
    { name: "StoreError" },
  );
});

t.test("deleting", async (t) => {
  const s3 = await startS3(t);
  const { blobs } = openS3(t, s3ConfigOf(s3.url));
  const digest = await share(blobs, bytes);
  t.equal(await blobs.delete(digest), true);
  t.equal(s3.objects.size, 0);
  t.equal(await blobs.delete(digest), true, "S3 does not say");
  s3.faultOf("delete", refused(404, "NoSuchKey"), 1);
  t.equal(await blobs.delete(digest), false, "unless it does");
  s3.faultOf("delete", refused(403, "AccessDenied"));
  await t.rejects(blobs.delete(digest), { name: "StoreError" });
});

t.test("a signed URL: for that object, for so long, without asking S3", async (t) => {
  const s3 = await startS3(t);
  const { blobs } = openS3(t, s3ConfigOf(s3.url));
  const url = await blobs.presign(digestOf(bytes), 60);
  t.equal(url.origin, s3.url.origin);
  t.equal(url.pathname, `/blobs/${objectKey(s3Prefix, digestOf(bytes))}`);
  t.equal(url.searchParams.get("X-Amz-Expires"), "60");
  t.equal(s3.requests.length, 0);
});

t.test("the bucket in the host, for servers that want that", async (t) => {
  const { blobs } = openS3(t, s3ConfigOf(new URL("http://s3.example.com"), { pathStyle: false, prefix: "" }));
  const url = await blobs.presign(digestOf(bytes), 60);
  t.equal(url.host, "blobs.s3.example.com");
  t.equal(url.pathname, `/${objectKey("", digestOf(bytes))}`);
});
