// Large blobs that another node has fetched: the client is sent to the bucket, when it may read them and only then.
import t, { type Test } from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { objectKey } from "../../src/storage/s3/object.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { s3ConfigOf, s3Prefix } from "../fixtures/s3-fixture.ts";
import { type ScriptedS3, startS3 } from "../fixtures/scripted-s3.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const redirectAbove = 100_000;
const large = randomBytesFor("large", redirectAbove);
const small = randomBytesFor("small", redirectAbove - 1);

interface Places {
  readonly upstream: ScriptedUpstream;
  readonly s3: ScriptedS3;
  readonly mirror: Mirror;
  /** Blobs that upstream has for team/app, and the bucket. */
  readonly digests: { readonly large: Digest; readonly small: Digest };
}

async function start(t: Test, over: { redirectAbove?: number } = { redirectAbove }): Promise<Places> {
  const upstream = await startUpstream(t);
  const s3 = await startS3(t);
  const mirror = await startMirror(t, upstream, { s3: s3ConfigOf(s3.url, over) });
  const put = (bytes: Buffer): Digest => {
    const digest = upstream.addBlob("team/app", bytes);
    s3.objects.set(objectKey(s3Prefix, digest), { bytes, headers: {}, modifiedAt: Date.now() });
    return digest;
  };
  return { upstream, s3, mirror, digests: { large: put(large), small: put(small) } };
}

function pathOf(digest: Digest, repository = "team/app"): string {
  return `/v2/${repository}/blobs/${digest}`;
}

/** Nothing of what only the client may know is anywhere in the log. */
function isSecret(t: Test, mirror: Mirror): void {
  t.notMatch(JSON.stringify(mirror.lines), /X-Amz|Signature/i, "the signed query is not in the log");
}

t.test("a large blob is fetched from the bucket, with the upstream's leave", async (t) => {
  const { upstream, s3, mirror, digests } = await start(t);
  const { status, headers, body } = await mirror.get(pathOf(digests.large));
  t.equal(status, 307);
  t.equal(headers["cache-control"], "no-store");
  t.equal(body.length, 0);
  const there = new URL(headers.location ?? "");
  t.equal(there.origin, s3.url.origin);
  const got = await fetch(there);
  t.equal(got.status, 200);
  t.ok(Buffer.from(await got.arrayBuffer()).equals(large));
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 0, "upstream sent nothing");
  t.equal(upstream.count({ kind: "blob", method: "HEAD" }), 1, "but was asked whether the repository has it");
  t.equal((await mirror.get(pathOf(digests.large))).status, 307);
  t.equal(upstream.count({ kind: "blob" }), 1, "once");
  t.match(await mirror.line(({ status }) => status === 307), { result: "hit", source: "s3" });
  isSecret(t, mirror);
});

t.test("HEAD, small blobs, blobs that are here and those being fetched are answered here", async (t) => {
  const { upstream, mirror, digests } = await start(t);
  const head = await mirror.ask("HEAD", pathOf(digests.large));
  t.equal(head.status, 200);
  t.equal(head.headers["content-length"], String(large.length));
  const little = await mirror.get(pathOf(digests.small));
  t.equal(little.status, 200);
  t.ok(little.body.equals(small));
  const own = randomBytesFor("own", 2 * redirectAbove);
  const digest = upstream.addBlob("team/app", own);
  const gate = Promise.withResolvers<void>();
  const heal = upstream.fault(({ reference }) =>
    reference === digest ? { stallAfter: 150_000, releaseOn: gate.promise } : undefined,
  );
  const first = mirror.get(pathOf(digest));
  await upstream.until(() => upstream.count({ reference: digest, method: "GET" }) === 1);
  const second = mirror.get(pathOf(digest));
  gate.resolve();
  heal();
  for (const answer of await Promise.all([first, second])) {
    t.equal(answer.status, 200);
    t.ok(answer.body.equals(own));
  }
  await mirror.line(({ msg, digest: done }) => msg === "fill committed" && done === digest);
  t.equal((await mirror.get(pathOf(digest))).status, 200, "uploaded meanwhile, and still here");
});

t.test("another node is never sent there", async (t) => {
  const { mirror, digests } = await start(t);
  const answer = await mirror.get(pathOf(digests.large), { "entrepot-node": "node-b" });
  t.equal(answer.status, 404);
  t.notOk("location" in answer.headers);
});

t.test("a repository that may not read it gets upstream's no", async (t) => {
  const { upstream, mirror, digests } = await start(t);
  const absent = await mirror.get(pathOf(digests.large, "team/other"));
  t.equal(absent.status, 404);
  t.notOk("location" in absent.headers);
  upstream.fault(({ repository }) => (repository === "team/closed" ? { status: 403 } : undefined));
  const denied = await mirror.get(pathOf(digests.large, "team/closed"));
  t.equal(denied.status, 403);
  t.notOk("location" in denied.headers);
  isSecret(t, mirror);
});

t.test("a bucket that fails: the blob comes from upstream", async (t) => {
  const { upstream, s3, mirror, digests } = await start(t);
  s3.fault(() => ({ status: 500 }));
  const answer = await mirror.get(pathOf(digests.large));
  t.equal(answer.status, 200);
  t.ok(answer.body.equals(large));
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
});

t.test("unless it is asked for nobody is sent anywhere", async (t) => {
  const { upstream, mirror, digests } = await start(t, {});
  const answer = await mirror.get(pathOf(digests.large));
  t.equal(answer.status, 200);
  t.ok(answer.body.equals(large));
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 0, "it came from the bucket all the same");
});
