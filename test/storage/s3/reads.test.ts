// Reads from an S3 that misbehaves: what cannot be read is an error within a bounded time, never absence.
import { mock } from "node:test";
import t, { type Test } from "tap";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { eventually, quiet } from "../../fixtures/manual-time.ts";
import { hurried, openS3, s3ConfigOf, unhurried } from "../../fixtures/s3-fixture.ts";
import { refused, type S3Fault, startS3 } from "../../fixtures/scripted-s3.ts";
import { fetchShared, noSignal, share } from "../../fixtures/shared-blobs-suite.ts";

const bytes = someBytes(1_000_000);
const digest = digestOf(bytes);

async function stored(t: Test) {
  const s3 = await startS3(t);
  const timing = { ...unhurried };
  const opened = openS3(t, s3ConfigOf(s3.url), { timing });
  await share(opened.blobs, bytes);
  s3.requests.length = 0;
  /** Shortens the time-outs from now on. */
  const wait = (limits: typeof unhurried) => Object.assign(timing, limits);
  return { s3, wait, ...opened };
}

t.test("answers that are no answers", async (t) => {
  const cases: readonly [string, S3Fault, { code: string; message: RegExp }][] = [
    ["500", refused(500, "InternalError"), { code: "unavailable", message: /500 InternalError/ }],
    ["503", refused(503, "SlowDown"), { code: "unavailable", message: /503 SlowDown/ }],
    ["403", refused(403, "AccessDenied"), { code: "unavailable", message: /403 AccessDenied/ }],
    ["no bucket", refused(404, "NoSuchBucket"), { code: "unavailable", message: /404 NoSuchBucket/ }],
    ["a 404 of somebody else", { status: 404, body: "<html>" }, { code: "unavailable", message: /404/ }],
    ["hangs", { hang: true }, { code: "unavailable", message: /no answer in time/ }],
    ["resets", { reset: true }, { code: "unavailable", message: /ECONNRESET/ }],
    ["no length", { noLength: true }, { code: "io", message: /another range/ }],
  ];
  for (const [name, fault, error] of cases)
    await t.test(name, async (t) => {
      const { s3, blobs, notices, wait } = await stored(t);
      s3.faultOf("get", fault);
      if (fault.hang) wait(hurried);
      await t.rejects(blobs.open(digest, 0, noSignal()), { name: "StoreError", ...error });
      t.match(notices, [{ kind: "store_error", op: "s3.open", code: error.code }]);
      t.ok(s3.count("get") <= 2, "tried again once at most");
      await eventually("no transfer is left", () => blobs.load.transfers === 0);
    });
});

t.test("one bad answer costs a second try and nothing else", async (t) => {
  for (const fault of [refused(503, "SlowDown"), refused(500, "InternalError"), { reset: true }]) {
    const { s3, blobs, notices } = await stored(t);
    s3.faultOf("get", fault, 1);
    t.ok((await fetchShared(blobs, digest))?.bytes.equals(bytes));
    t.equal(s3.count("get"), 2);
    t.same(notices, []);
  }
});

t.test("answers to another range", async (t) => {
  const cases: Readonly<Record<string, S3Fault>> = {
    "the whole": { ignoreRange: true },
    "a byte late": { wrongContentRange: true },
    "another total": { headers: { "content-range": `bytes 10-${bytes.length - 1}/${bytes.length + 1}` } },
    "no Content-Range": { headers: { "content-range": undefined } },
    "more than there is": { extraBytes: 1 },
  };
  for (const [name, fault] of Object.entries(cases))
    await t.test(name, async (t) => {
      const { s3, blobs } = await stored(t);
      s3.faultOf("get", fault);
      await t.rejects(blobs.open(digest, 10, noSignal()), { name: "StoreError", code: "io" });
      t.equal(blobs.state, "closed");
    });
  await t.test("beyond the end", async (t) => {
    const { blobs } = await stored(t);
    await t.rejects(blobs.open(digest, bytes.length, noSignal()), { name: "StoreError", code: "io" });
  });
});

t.test("a body that breaks: what came is right, and the rest is read from there", async (t) => {
  for (const [name, fault] of Object.entries<S3Fault>({
    cut: { cutAfter: 400_000 },
    reset: { cutAfter: 400_000, reset: true },
    silent: { stallAfter: 400_000 },
  }))
    await t.test(name, async (t) => {
      const { s3, blobs, notices, wait } = await stored(t);
      s3.faultOf("get", fault, 1);
      if (fault.stallAfter !== undefined) wait({ ...unhurried, idle: hurried.idle });
      const blob = await blobs.open(digest, 0, noSignal());
      const chunks: Buffer[] = [];
      const read = async () => {
        for await (const chunk of blob?.body ?? []) chunks.push(chunk);
      };
      await t.rejects(read(), { name: "StoreError", code: "unavailable", message: /to its end/ });
      const begun = Buffer.concat(chunks);
      t.ok(begun.length <= 400_000 && begun.equals(bytes.subarray(0, begun.length)));
      t.match(notices, [{ op: "s3.read", code: "unavailable" }]);
      wait(unhurried);
      const rest = await fetchShared(blobs, digest, begun.length);
      t.ok(rest?.bytes.equals(bytes.subarray(begun.length)));
      await eventually("no transfer is left", () => blobs.load.transfers === 0);
    });
});

t.test("a slow reader is no silence of S3, and makes it wait", async (t) => {
  const { blobs } = await stored(t);
  const large = someBytes(12 * 1024 * 1024, 3);
  await share(blobs, large);
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const blob = await blobs.open(digestOf(large), 0, noSignal());
  let read = 0;
  for await (const chunk of blob?.body ?? []) {
    // Longer than S3 may be silent.
    if (read === 0) mock.timers.tick(unhurried.idle * 2);
    await quiet(1);
    read += chunk.length;
  }
  t.equal(read, large.length);
});

t.test("the caller's signal ends a body that nobody reads", async (t) => {
  const { s3, blobs, notices } = await stored(t);
  s3.faultOf("get", { stallAfter: 10 });
  const giving = new AbortController();
  const blob = await blobs.open(digest, 0, giving.signal);
  t.equal(blobs.load.transfers, 1);
  giving.abort();
  await eventually("no transfer is left", () => blobs.load.transfers === 0);
  await t.rejects(
    async () => {
      for await (const _ of blob?.body ?? []);
    },
    { name: "StoreError" },
  );
  const hung = s3.faultOf("get", { hang: true });
  const asking = new AbortController();
  const opened = blobs.open(digest, 0, asking.signal);
  asking.abort();
  await t.rejects(opened, { name: "StoreError", message: /gave up/ });
  hung();
  t.same(notices, [], "none of it is S3's failure");
});

t.test("256 transfers at once, and not one more", async (t) => {
  const { s3, blobs, notices } = await stored(t);
  s3.faultOf("get", { stallAfter: 10 });
  const giving = new AbortController();
  await Promise.all(Array.from({ length: 256 }, () => blobs.open(digest, 0, giving.signal)));
  await t.rejects(blobs.open(digest, 0, giving.signal), { code: "unavailable", message: /under way/ });
  t.equal((await blobs.head(digest))?.size, bytes.length, "a question still finds a socket");
  giving.abort();
  await eventually("no transfer is left", () => blobs.load.transfers === 0);
  t.same(notices, []);
});

t.test("HEAD of a bucket that is not there is no absence", async (t) => {
  const { s3 } = await stored(t);
  const { blobs } = openS3(t, s3ConfigOf(s3.url, { bucket: "gone" }));
  await t.rejects(blobs.head(digest), { name: "StoreError", message: /find the bucket/ });
  await t.rejects(blobs.open(digest, 0, noSignal()), { name: "StoreError" });
});

t.test("a credential look-up that never ends costs no more than a silent S3", async (t) => {
  const s3 = await startS3(t);
  const never = { read: () => new Promise<never>(() => {}), problem: undefined };
  const config = s3ConfigOf(s3.url, { credentials: { accessKeyId: never, secretAccessKey: never } });
  const { blobs } = openS3(t, config, { timing: hurried });
  await t.rejects(blobs.open(digest, 0, noSignal()), { name: "StoreError", message: /no answer in time/ });
  await t.rejects(blobs.presign(digest, 60), { name: "StoreError", message: /no answer in time/ });
  await quiet();
  t.equal(s3.requests.length, 0);
});
