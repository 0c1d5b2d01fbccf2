import t from "tap";
import { type PullOptions, pullImage } from "../../src/demo/pull.ts";
import { makeSampleImages, type SampleRepository } from "../../src/demo/sample-images.ts";
import { type DemoUpstream, startDemoUpstream } from "../../src/demo/upstream.ts";
import type { Digest } from "../../src/oci/digest.ts";

const credentials = { username: "ci", password: "s3cret" };
const repositories = await makeSampleImages();
const app = repositories.find(({ name }) => name === "team/app") as SampleRepository;
const largestBlob = [...app.blobs].reduce((a, b) => (b[1].length > a[1].length ? b : a));

type Tap = { teardown(action: () => Promise<void>): void };
async function start(t: Tap, served = repositories, bytesPerSecond = 1e9): Promise<DemoUpstream> {
  const link = { roundTripMs: 0, bytesPerSecond };
  const upstream = await startDemoUpstream({ repositories: served, ...credentials, link });
  t.teardown(() => upstream.stop());
  return upstream;
}
function pull(upstream: DemoUpstream, changes: Partial<PullOptions> = {}) {
  return pullImage({
    registry: upstream.url,
    repository: "team/app",
    tag: "1.0",
    platform: { os: "linux", architecture: "arm64" },
    credentials,
    signal: new AbortController().signal,
    ...changes,
  });
}
const withBlob = (digest: Digest, body: Buffer): SampleRepository[] => [
  { ...app, blobs: new Map(app.blobs).set(digest, body) },
];

t.test("an index: the tag, the index, the platform's image, its config and its four layers", async (t) => {
  const upstream = await start(t);
  const seen: [number, number][] = [];
  const result = await pull(upstream, { onProgress: (...numbers) => seen.push(numbers) });
  t.match(result, { requests: 8, layers: 4 });
  t.same(upstream.counts(), { requests: 8, bytes: result.bytes });
  t.ok(result.ms > 0);
  t.same(seen.at(-1), [result.bytes, result.bytes], "the last report says that all is here");
});

t.test("an image without an index", async (t) => {
  const upstream = await start(t);
  const result = await pull(upstream, { repository: "busybox", tag: "latest" });
  t.match(result, { requests: 5, layers: 2 });
});

t.test("a layer with other bytes than its digest promises fails the pull", async (t) => {
  const [digest, body] = largestBlob;
  const changed = Buffer.from(body);
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  for (const [what, wrong] of [
    ["one bit is wrong", changed],
    ["the last byte is missing", body.subarray(0, -1)],
    ["a byte too many", Buffer.concat([body, Buffer.from("x")])],
  ] as const) {
    const upstream = await start(t, withBlob(digest, wrong));
    await t.rejects(pull(upstream), { name: "PullError", code: "digest_mismatch" }, what);
  }
});

t.test("a manifest with other bytes than its digest promises fails the pull", async (t) => {
  const manifests = new Map(app.manifests);
  for (const [digest, { mediaType, body }] of app.manifests) {
    manifests.set(digest, { mediaType, body: Buffer.from(body.toString().replace("linux", "Linux")) });
  }
  const upstream = await start(t, [{ ...app, manifests }]);
  await t.rejects(pull(upstream), { code: "digest_mismatch" });
});

t.test("what is not there, or not for us", async (t) => {
  const upstream = await start(t);
  await t.rejects(pull(upstream, { tag: "9.9" }), { code: "status", message: /404/ });
  await t.rejects(pull(upstream, { credentials: { ...credentials, password: "guess" } }), {
    code: "status",
    message: /401/,
  });
  await t.rejects(pull(upstream, { platform: { os: "linux", architecture: "s390x" } }), {
    code: "no_platform",
    message: /linux\/s390x/,
  });
  const blobs = new Map(app.blobs);
  blobs.delete(largestBlob[0]);
  const incomplete = await start(t, [{ ...app, blobs }]);
  await t.rejects(pull(incomplete), { code: "status", message: /404/ });
});

t.test("a registry that breaks off, and one that is not there", async (t) => {
  const upstream = await start(t, repositories, 2_000_000);
  const onProgress = () => void upstream.stop();
  await t.rejects(pull(upstream, { onProgress }), { name: "PullError", code: "network" });
  await t.rejects(pull(upstream), { name: "PullError", code: "network" });
});

t.test("the signal ends a pull with its own reason", async (t) => {
  const upstream = await start(t, repositories, 2_000_000);
  const leaving = new AbortController();
  const reason = new Error("enough");
  const onProgress = () => leaving.abort(reason);
  await t.rejects(pull(upstream, { signal: leaving.signal, onProgress }), reason);
});
