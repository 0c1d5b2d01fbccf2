import type { IncomingHttpHeaders } from "node:http";
import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Notice } from "../../../src/ports/event.ts";
import type { UpstreamError } from "../../../src/ports/upstream.ts";
import { RateLimits } from "../../../src/upstream/connection/rate-limits.ts";
import {
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { makeImage } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { type Owner, startUpstream } from "../../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "limits" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

/** Seconds small requests are held back after one answer; 0 when they are not. */
function heldBack(status: number, headers: object): number {
  const clock = new ManualClock();
  const limits = new RateLimits("main", () => {}, clock.read);
  limits.note("small", status, headers as IncomingHttpHeaders);
  try {
    limits.check("small");
    return 0;
  } catch (error) {
    return (error as UpstreamError).retryAfter ?? Number.NaN;
  }
}

t.test("how long an upstream that limits us is left alone", async (t) => {
  for (const [status, headers, seconds] of [
    [429, {}, 4],
    [429, { "retry-after": "7" }, 7],
    [429, { "retry-after": "0" }, 1],
    [429, { "retry-after": "3600" }, 60],
    [429, { "retry-after": "Thu, 01 Jan 2026 00:00:09 GMT" }, 9],
    [429, { "retry-after": "soon" }, 4],
    [429, { "ratelimit-reset": "11" }, 11],
    [429, { "retry-after": "7", "ratelimit-reset": "11" }, 7],
    [200, { "ratelimit-remaining": "0", "ratelimit-reset": "30" }, 30],
    [200, { "ratelimit-remaining": "0;w=21600" }, 4],
    [200, { "ratelimit-remaining": "1;w=21600" }, 0],
    [200, { "ratelimit-remaining": "none" }, 0],
    [200, { "retry-after": "7" }, 0],
    [503, { "retry-after": "7" }, 0],
  ] as const)
    t.equal(heldBack(status, headers), seconds, `${status} ${JSON.stringify(headers)}`);
});

t.test("what is left of what is allowed", async (t) => {
  const clock = new ManualClock();
  const limits = new RateLimits("main", () => {}, clock.read);
  const after = (kind: "small" | "transfer", status: number, headers: object): number => {
    limits.note(kind, status, headers as IncomingHttpHeaders);
    return limits.allowance;
  };
  t.equal(limits.allowance, 1, "nothing is known of a limit");
  t.equal(after("small", 200, { "ratelimit-remaining": "7" }), 1);
  const hub = { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600" };
  t.equal(after("small", 200, hub), 0.76);
  t.equal(after("transfer", 200, { ...hub, "ratelimit-remaining": "1" }), 0.76, "blobs are counted apart");
  t.equal(after("small", 200, {}), 0.76, "not every answer says it");
  t.equal(after("small", 200, { ...hub, "ratelimit-limit": "0" }), 0.76);
  t.equal(after("small", 200, { ...hub, "ratelimit-remaining": "500" }), 1);
  t.equal(after("small", 429, { "retry-after": "10" }), 0);
  clock.advance(10_000);
  t.equal(limits.allowance, 1);
});

t.test("the time runs down, and manifests and blobs are limited apart", async (t) => {
  const clock = new ManualClock();
  const limits = new RateLimits("main", () => {}, clock.read);
  limits.note("small", 429, { "retry-after": "10" });
  limits.check("transfer");
  clock.advance(8_500);
  t.throws(() => limits.check("small"), { code: "rate_limited", retryAfter: 2, message: /upstream main/ });
  clock.advance(1_500);
  limits.check("small");
  limits.note("transfer", 429, {});
  limits.check("small");
  t.throws(() => limits.check("transfer"), { code: "rate_limited" });
});

t.test("a clock that is set back holds nothing back for longer", async () => {
  const clock = new ManualClock();
  const limits = new RateLimits("main", () => {}, clock.read);
  limits.note("small", 429, { "retry-after": "10" });
  clock.advance(-3_600_000);
  limits.check("small");
});

t.test("what is left of the budget is reported, in both forms", async (t) => {
  const notices: Notice[] = [];
  const limits = new RateLimits("main", (notice) => notices.push(notice), Date.now);
  for (const text of ["98;w=21600", "42", " 7 ;w=60", "0", ["5;w=60", "900;w=3600"], "-1", "1.5", "many", ""])
    limits.note("small", 200, { "ratelimit-remaining": text } as IncomingHttpHeaders);
  limits.note("small", 429, {});
  t.same(
    notices,
    [98, 42, 7, 0, 5].map((remaining) => ({ kind: "rate_limit", upstream: "main", remaining })),
  );
});

async function setUp(t: Owner) {
  const clock = new ManualClock();
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  return { clock, registry, ...connectUpstream(t, registry.url, {}, clock.read) };
}

t.test("six requests in a row of a client that is limited make one upstream", async (t) => {
  const { clock, registry, upstream, of } = await setUp(t);
  const remove = registry.fault(() => ({ status: 429, headers: { "retry-after": "3" } }));
  for (let round = 0; round < 6; round++) {
    const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
    t.match(error, { code: "rate_limited", retryAfter: 3, status: round === 0 ? 429 : undefined });
  }
  t.equal(registry.count(), 1);
  t.equal(registry.connections, 1);
  t.equal(of("upstream_error").length, 6);
  remove();
  clock.advance(2_999);
  t.match(await upstreamError(upstream.headManifest(repository, tagged("1"))), { retryAfter: 1 });
  clock.advance(1);
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.equal(registry.count(), 2);
  await idle(upstream);
});

t.test("blobs are fetched while manifests are limited", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(({ kind }) => (kind === "manifest" ? { status: 429 } : undefined));
  t.match(await upstreamError(upstream.getManifest(repository, tagged("1"))), { code: "rate_limited" });
  const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.ok((await drain(body)).bytes.equals(layer.bytes));
});

t.test("an answer that uses up the budget is an answer, and the last one for a while", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  registry.fault(() => ({ headers: { "ratelimit-remaining": "0;w=21600" } }));
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  t.match(await upstreamError(upstream.getManifest(repository, tagged("1"))), { code: "rate_limited" });
  t.equal(registry.count(), 1);
  t.match(of("rate_limit"), [{ remaining: 0 }]);
});

t.test("requests that wait for a connection when the limit is reached are not sent", async (t) => {
  const registry = await startUpstream(t);
  const { upstream } = connectUpstream(t, registry.url, { maxConnections: 1 });
  const gate = Promise.withResolvers<void>();
  registry.fault(() => ({ status: 429, holdUntil: gate.promise }));
  const asked = Array.from({ length: 5 }, (_, at) =>
    upstreamError(upstream.getManifest(repository, tagged(`${at}`))),
  );
  await registry.until(() => registry.count() === 1);
  gate.resolve();
  for (const error of await Promise.all(asked)) t.equal(error.code, "rate_limited");
  t.equal(registry.count(), 1);
  await idle(upstream);
});

t.test("the limits of a storage behind a redirect are not upstream's", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true });
  registry.addImage(repository, "1", image);
  const location = `${storage.url.href}/object`;
  registry.fault(({ kind }) => (kind === "blob" ? { status: 307, headers: { location } } : undefined));
  storage.fault(() => ({ status: 429, headers: { "ratelimit-remaining": "0" } }));
  const { upstream, of } = connectUpstream(t, registry.url, { redirectsTo: ["127.0.0.1"] });
  for (let round = 0; round < 2; round++)
    t.match(await upstreamError(upstream.headBlob(repository, layer.digest)), { code: "rate_limited" });
  t.equal(storage.count(), 2);
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.same(of("rate_limit"), []);
});
