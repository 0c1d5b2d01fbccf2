import t, { type Test } from "tap";
import type { S3Config } from "../../../src/config/config.ts";
import { objectKey } from "../../../src/storage/s3/object.ts";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { openS3, s3ConfigOf, s3Prefix } from "../../fixtures/s3-fixture.ts";
import { type Condition, refused, type S3Fault, startS3 } from "../../fixtures/scripted-s3.ts";
import { noSignal, readerOf, share } from "../../fixtures/shared-blobs-suite.ts";

const bytes = someBytes(3_000_000);
const digest = digestOf(bytes);
const key = objectKey(s3Prefix, digest);

async function started(t: Test, over: Partial<S3Config> = {}) {
  const s3 = await startS3(t);
  return { s3, ...openS3(t, s3ConfigOf(s3.url, over)) };
}

t.test("one request, with the length, the digest as checksum, and the key of the layout", async (t) => {
  const { s3, blobs } = await started(t);
  await share(blobs, bytes);
  t.same([...s3.objects.keys()], [key]);
  const [{ headers } = { headers: {} }, ...others] = s3.requests;
  t.same(others, []);
  const hex = digest.slice("sha256:".length);
  t.match(headers, {
    "content-length": String(bytes.length),
    "content-type": "application/octet-stream",
    "x-amz-checksum-sha256": Buffer.from(hex, "hex").toString("base64"),
    "x-amz-content-sha256": hex,
    "if-none-match": "*",
  });
  for (const name of ["expect", "transfer-encoding", "content-encoding", "x-amz-trailer"])
    t.notOk(name in headers, name);
  await share(blobs, Buffer.from("{}"), "application/vnd.oci.image.index.v1+json");
  t.match(s3.requests.at(-1)?.headers, { "content-type": "application/vnd.oci.image.index.v1+json" });
  const other = digestOf(bytes, "sha512");
  await share(blobs, bytes, undefined, other);
  t.notOk("x-amz-checksum-sha256" in (s3.requests.at(-1)?.headers ?? {}), "S3 knows no sha512");
  t.ok(s3.objects.has(objectKey(s3Prefix, other)));
});

t.test("encryption is asked for", async (t) => {
  const kms = { algorithm: "aws:kms", keyId: "alias/images" } as const;
  const { s3, blobs } = await started(t, { encryption: kms });
  await share(blobs, bytes);
  await share(blobs, someBytes(17 * 1024 * 1024));
  for (const operation of ["put", "create"])
    t.match(s3.requests.find((request) => request.operation === operation)?.headers, {
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "alias/images",
    });
  const { s3: other, blobs: plain } = await started(t, { encryption: { algorithm: "AES256" } });
  await share(plain, bytes);
  t.match(other.requests[0]?.headers, { "x-amz-server-side-encryption": "AES256" });
});

t.test("bytes that change on the way are refused by the server", async (t) => {
  const { s3, blobs, notices } = await started(t);
  s3.faultOf("put", { spoil: true });
  await t.rejects(share(blobs, bytes), { name: "StoreError", message: /400/ });
  s3.faultOf("part", { spoil: true });
  await t.rejects(share(blobs, someBytes(17 * 1024 * 1024)), { name: "StoreError", message: /400/ });
  t.equal(s3.objects.size, 0);
  t.equal(s3.uploads.size, 0);
  t.match(notices[0], { kind: "store_error", op: "s3.put" });
  t.equal(blobs.state, "closed");
});

t.test(
  "what another node has stored meanwhile is a success, whatever the server makes of the condition",
  async (t) => {
    const cases: Readonly<Record<Condition, { first: object; again: object }>> = {
      honours: { first: { put: 1, head: 0 }, again: { put: 1, head: 0 } },
      "says 304": { first: { put: 1, head: 0 }, again: { put: 1, head: 0 } },
      // The same bytes once more.
      ignores: { first: { put: 1, head: 0 }, again: { put: 1, head: 0 } },
      // Refused once, remembered ever after.
      refuses: { first: { put: 2, head: 1 }, again: { put: 0, head: 1 } },
    };
    for (const [condition, { first, again }] of Object.entries(cases))
      await t.test(condition, async (t) => {
        const { s3, blobs, notices } = await started(t);
        s3.conditions.put = condition as Condition;
        for (const expected of [first, again, again]) {
          s3.requests.length = 0;
          await share(blobs, bytes);
          t.same({ put: s3.count("put"), head: s3.count("head") }, expected);
        }
        t.ok(s3.objects.get(key)?.bytes.equals(bytes));
        s3.requests.length = 0;
        await Promise.all(Array.from({ length: 20 }, () => share(blobs, bytes)));
        t.equal(s3.objects.size, 1);
        t.same(notices, []);
      });
  },
);

t.test("an object of another size is written over where the server is asked first", async (t) => {
  const { s3, blobs } = await started(t);
  s3.conditions.put = "refuses";
  s3.objects.set(key, { bytes: Buffer.from("wrong"), headers: {}, modifiedAt: Date.now() });
  await share(blobs, bytes);
  t.ok(s3.objects.get(key)?.bytes.equals(bytes));
});

t.test("409: somebody else is writing it at this moment", async (t) => {
  const { s3, blobs } = await started(t);
  const lifted = s3.faultOf("put", refused(409, "ConditionalRequestConflict"), 1);
  await share(blobs, bytes);
  t.same([s3.count("put"), s3.count("head")], [2, 1]);
  lifted();
  s3.faultOf("put", refused(409, "ConditionalRequestConflict"));
  await share(blobs, bytes);
  t.same([s3.count("put"), s3.count("head")], [3, 2], "it was there by then");
  s3.objects.clear();
  await t.rejects(share(blobs, bytes), { name: "StoreError", code: "unavailable" });
  t.equal(s3.count("put"), 6, "and not for ever");
});

t.test("failures of S3", async (t) => {
  const cases: readonly [string, S3Fault, { code: string; puts: number; state: string }][] = [
    ["500", refused(500, "InternalError"), { code: "unavailable", puts: 2, state: "closed" }],
    ["503", refused(503, "SlowDown"), { code: "unavailable", puts: 2, state: "open" }],
    ["403", refused(403, "AccessDenied"), { code: "unavailable", puts: 1, state: "closed" }],
    ["full", refused(403, "QuotaExceeded"), { code: "no_space", puts: 1, state: "closed" }],
    ["full too", refused(507, "InsufficientStorage"), { code: "no_space", puts: 1, state: "closed" }],
    ["reset", { reset: true }, { code: "unavailable", puts: 2, state: "open" }],
  ];
  for (const [name, fault, { code, puts, state }] of cases)
    await t.test(name, async (t) => {
      const { s3, blobs, notices } = await started(t);
      const lifted = s3.faultOf("put", fault);
      await t.rejects(share(blobs, bytes), { name: "StoreError", code });
      t.equal(s3.count("put"), puts);
      t.match(notices, [{ kind: "store_error", op: "s3.put", code }]);
      for (let i = 0; i < 2; i++) await t.rejects(share(blobs, bytes), { name: "StoreError", code });
      // A store that takes nothing may still give: only one that does not work at all is left alone.
      t.equal(blobs.state, state);
      t.same(blobs.load, { transfers: 0, uploadBytes: 0 });
      lifted();
    });
  await t.test("one of them alone costs a second try", async (t) => {
    const { s3, blobs, notices } = await started(t);
    s3.faultOf("put", refused(503, "SlowDown"), 1);
    await share(blobs, bytes);
    t.same(notices, []);
  });
  await t.test("a lost answer: the second try finds the blob there", async (t) => {
    const { s3, blobs } = await started(t);
    s3.faultOf("put", { loseAnswer: true }, 1);
    await share(blobs, bytes);
    t.equal(s3.count("put"), 2);
    t.equal(s3.objects.size, 1);
  });
});

t.test("the memory for small blobs is bounded as well", async (t) => {
  const { s3, blobs } = await started(t);
  const all = Array.from({ length: 150 }, (_, i) => someBytes(1000, i + 1));
  let most = 0;
  s3.fault(() => {
    most = Math.max(most, blobs.load.uploadBytes);
    return undefined;
  });
  await Promise.all(all.map((each) => share(blobs, each)));
  t.equal(s3.objects.size, 150);
  t.ok((s3.most.get("put") ?? 0) <= 64, "64 at once");
  t.ok(most <= 64 * 1024 * 1024);
  t.same(blobs.load, { transfers: 0, uploadBytes: 0 });
});

t.test("no message, cause or notice has a secret in it", async (t) => {
  const { s3, blobs, notices } = await started(t);
  const seen: unknown[] = [];
  const faults: S3Fault[] = [
    {
      status: 403,
      body: "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>s3cr3t</StringToSign><Message>s3cr3t</Message></Error>",
    },
    { status: 400, body: "s3cr3t" },
    { reset: true },
  ];
  for (const fault of faults) {
    const lifted = s3.fault(() => fault);
    const asked = [
      blobs.open(digest, 0, noSignal()),
      blobs.head(digest),
      blobs.put(digest, bytes.length, undefined, readerOf(bytes), noSignal()),
      blobs.delete(digest),
      blobs.sweep(noSignal()),
    ];
    for (const result of await Promise.allSettled(asked))
      if (result.status === "rejected") seen.push(result.reason);
    lifted();
  }
  const { inspect } = await import("node:util");
  const text = inspect([seen, notices], { depth: 10, showHidden: true });
  t.ok(seen.length > 5);
  t.match(text, /SignatureDoesNotMatch/);
  t.notMatch(text, /s3cr3t|AWS4-HMAC|Signature=|Credential=|X-Amz|\$response/);
});
