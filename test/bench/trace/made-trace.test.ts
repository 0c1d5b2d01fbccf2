// The made trace has the figures of the recorded one (FAST'18, and a replay of its 725,242 requests in their order).
import { isDeepStrictEqual } from "node:util";
import t, { type Test } from "tap";
import { lruHits } from "./computed-lru.ts";
import { makeTrace, recordedLength } from "./made-trace.ts";
import { uniqueBytes } from "./trace.ts";
import { figuresOf } from "./trace-figures.ts";

/** Fails unless each value is that far from the recorded one at most; `off` is a part of it with `relative`. */
function near(
  t: Test,
  what: string,
  values: readonly number[],
  recorded: readonly number[],
  off: number,
  relative = false,
): void {
  for (const [at, value] of values.entries()) {
    const wanted = recorded[at] ?? Number.NaN;
    const bound = relative ? off * Math.abs(wanted) : off;
    t.ok(Math.abs(value - wanted) <= bound, `${what}: ${value.toPrecision(3)}, recorded ${wanted}`);
  }
}

t.test("an order as long as the recorded one", async (t) => {
  const trace = makeTrace({ length: recordedLength });
  const figures = figuresOf(trace);
  near(t, "requests", [trace.length], [recordedLength], 0.01, true);
  near(t, "kinds", [figures.pings, figures.blobs, figures.manifests], [0.46, 0.358, 0.183], 0.005);
  near(t, "hits without a bound", [figures.hitsByUri, figures.hitsByDigest], [0.582, 0.686], 0.01);
  near(t, "asked once", [figures.digestsOnce, figures.urisOnce], [0.68, 0.81], 0.02);
  near(t, "popular blobs", figures.topBlobs, [0.31, 0.43, 0.53, 0.59, 0.67, 0.79], 0.015);
  near(t, "popular manifests", [figures.topManifests], [0.85], 0.02);
  near(t, "slopes", [figures.blobSlope, figures.manifestSlope], [-0.92, -1.06], 0.04);
  near(
    t,
    "in several repositories",
    [figures.digestsInSeveral, figures.requestsInSeveral],
    [0.14, 0.29],
    0.025,
  );
  near(t, "polls", [figures.polls], [0.79], 0.01);
  near(t, "distances", figures.distances, [17, 73, 564, 6_429, 21_794], 0.35, true);
  near(t, "sizes", figures.sizes, [1_100, 11_000, 3.3e6, 35e6, 118e6], 0.5, true);
  const unique = uniqueBytes(trace);
  near(t, "unique bytes", [unique], [898e9], 0.05, true);
  // What an eviction makes of it, which the figures above do not imply.
  for (const [part, objects, bytes] of [
    [0.01, 0.415, 0.388],
    [0.05, 0.568, 0.562],
    [0.1, 0.623, 0.624],
    [0.2, 0.654, 0.654],
  ] as const) {
    const hits = lruHits(trace, Math.round(unique * part));
    near(t, `LRU with room for ${part}`, [hits.objects, hits.bytes], [objects, bytes], 0.03);
  }
});

t.test("a shorter one has the shares, and is the same for the same seed", async (t) => {
  const trace = makeTrace({ length: 20_000, seed: 3 });
  const figures = figuresOf(trace);
  near(t, "kinds", [figures.pings, figures.blobs, figures.manifests], [0.46, 0.358, 0.183], 0.02);
  near(t, "hits without a bound", [figures.hitsByUri, figures.hitsByDigest], [0.582, 0.686], 0.03);
  near(t, "polls", [figures.polls], [0.79], 0.03);
  t.ok(isDeepStrictEqual(makeTrace({ length: 20_000, seed: 3 }), trace));
  t.notOk(isDeepStrictEqual(makeTrace({ length: 20_000, seed: 4 }), trace));
});
