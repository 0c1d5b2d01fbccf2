import { once } from "node:events";
import { request } from "node:http";
import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import type { StatsDocument } from "../../../src/ops/stats/stats-document.ts";
import { makeImage } from "../../fixtures/images.ts";
import { gate, type ManualClock } from "../../fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../../fixtures/scripted-upstream.ts";
import { sampleDocument, sampleStats } from "../../fixtures/stats-samples.ts";

const image = makeImage({ layers: [300_000] });
const [layer] = image.layers as [(typeof image.layers)[0]];
const blob = `/v2/team/app/blobs/${layer.digest}`;

async function start(
  t: Test,
  options: MirrorOptions = {},
): Promise<{ upstream: ScriptedUpstream; mirror: Mirror }> {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", image);
  return { upstream, mirror: await startMirror(t, upstream, options) };
}

async function stats(mirror: Mirror): Promise<StatsDocument> {
  return (await (await fetch(new URL("/stats.json", mirror.ops))).json()) as StatsDocument;
}

t.test("what other nodes are told every five seconds is made of no list and no ledger", (t) => {
  const told = new Set<string>();
  const { stats, activity } = sampleStats({
    savings: () => {
      told.add("savings");
      throw new Error("the ledger was read");
    },
    queues: () => {
      told.add("queues");
      return [];
    },
  });
  t.teardown(() => stats.close());
  const { report } = activity;
  activity.report = () => {
    told.add("report");
    return report.call(activity);
  };
  t.match(stats.summary(), { name: "node-1", state: "up", verdict: { level: "ok" } });
  t.match(stats.datacenter(), { nodes: [{ name: "node-1", self: true }], totals: { nodes: 1 } });
  t.strictSame([...told], []);
  t.throws(() => stats.document(), /the ledger was read/, "and the page's document is");
  t.end();
});

/** What is wrong, but for what the machine of the test does: it may be busy with others. */
function ownReasons({ verdict }: StatsDocument): readonly string[] {
  return verdict.reasons.filter((reason) => !reason.startsWith("this node is overloaded"));
}

t.test("a cold and a warm pull", async (t) => {
  const { mirror } = await start(t);
  await mirror.get(blob);
  // Stored a little after the client has it all.
  while ((await stats(mirror)).store.objects === 0) await turn();
  await mirror.get(blob);
  await mirror.line(({ result }) => result === "hit");
  const document = await stats(mirror);
  const { traffic, upstreams, store, repositories, node } = document;
  t.strictSame(ownReasons(document), []);
  t.match(node, { ready: true, draining: false });
  t.match(traffic.windows["5m"], {
    requests: 2,
    results: { hit: 1, miss: 1 },
    sentBytes: 600_000,
    fetchedBytes: 300_000,
    savedBytes: 300_000,
    layerHitRatio: 0.5,
  });
  t.match(upstreams, [{ name: "upstream", circuit: "closed", errors: 0, maxConnections: 64 }]);
  t.ok((upstreams[0]?.requests ?? 0) > 0 && upstreams[0]?.lastSuccessAt);
  t.match(store, { usedBytes: 300_000, limitBytes: 1e9, objects: 1 });
  t.match(repositories.byBytes, [{ upstream: "upstream", repository: "team/app", weight: 600_000 }]);
});

t.test("a running download, with its followers", async (t) => {
  const { mirror, upstream } = await start(t);
  const release = gate();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 200_000, releaseOn: release.opened } : undefined,
  );
  const pulls = [mirror.get(blob), mirror.get(blob)];
  let document = await stats(mirror);
  while (document.fills[0]?.followers !== 2 || document.fills[0].receivedBytes < 200_000) {
    await turn();
    document = await stats(mirror);
  }
  t.match(document.fills, [
    {
      digest: layer.digest,
      repository: "team/app",
      upstream: "upstream",
      receivedBytes: 200_000,
      sizeBytes: 300_000,
    },
  ]);
  const [fill] = document.fills;
  t.ok((fill?.silentMs ?? -1) >= 0, "how long nothing has come is known");
  t.equal(document.traffic.inFlight, 2);
  t.equal(document.upstreams[0]?.activeConnections, 1);
  release.open();
  for (const { body } of await Promise.all(pulls)) t.equal(body.length, 300_000);
  while ((await stats(mirror)).fills.length > 0) await turn();
});

t.test("an upstream that fails is told, with what it said", async (t) => {
  const { mirror, upstream } = await start(t);
  upstream.fault(() => ({ status: 500 }));
  await mirror.get("/v2/team/app/manifests/1.0");
  const document = await stats(mirror);
  const { verdict, errors, upstreams } = document;
  t.equal(verdict.level, "degraded");
  t.match(ownReasons(document)[0], /^upstream upstream fails: server_error \(no success since the start\)$/);
  t.match(errors.last, [{ status: 502, what: "team/app:1.0", method: "GET" }]);
  t.match(upstreams[0]?.errorCodes, [{ code: "server_error", count: 1 }]);
});

t.test("traffic of before a restart is still there", async (t) => {
  const directory = t.testdir();
  const { mirror, upstream } = await start(t, { cache: { dir: directory } });
  await mirror.get(blob);
  await mirror.line(({ result }) => result === "miss");
  await mirror.app.stop();
  const again = await startMirror(t, upstream, { cache: { dir: directory } });
  const { traffic, node } = await stats(again);
  t.match(traffic.windows["24h"], { requests: 1, sentBytes: 300_000 });
  t.equal(traffic.inFlight, 0);
  t.ok(node.startedAt > 0);
});

t.test("streams end when the node drains, and are not offered again; the document still is", async (t) => {
  const { mirror } = await start(t, { drainDelay: 1 });
  const open = async () => {
    const sent = request(new URL("/stats/events", mirror.ops), { agent: false }).end();
    const [response] = await once(sent, "response");
    return response;
  };
  const stream = await open();
  const ended = stream.toArray();
  await mirror.app.drain();
  t.match(Buffer.concat(await ended).toString(), /"draining":true.*\n\n$/, "the last word says why");
  t.equal((await open()).statusCode, 204);
  t.match(await stats(mirror), { node: { draining: true }, verdict: { level: "degraded" } });
});

t.test("how long until it is full: at the pace of the last hour, less what was evicted", (t) => {
  const fill = { kind: "fill", result: "committed", upstream: "hub", digest: "", durationMs: 1 } as const;
  const used = (bytes: number) => ({
    disk: () => undefined,
    running: () => ({
      index: { blobs: { totals: () => ({ bytes, count: 1 }) }, history: { movedSince: () => [] } },
    }),
  });
  const happen = (minutes: number, stored: number, evicted: number) =>
    sampleDocument((activity, clock: ManualClock) => {
      clock.advance((minutes - 1) * 60_000);
      activity.onNotice({ ...fill, bytes: stored });
      activity.onNotice({
        kind: "eviction",
        reason: "lru",
        digest: "",
        bytes: evicted,
        ageMs: 0,
        orphaned: 0,
      });
    }, used(400)).store.timeToFullMs;
  t.equal(happen(120, 100, 0), 6 * 3_600_000, "600 bytes at 100 an hour");
  t.equal(happen(120, 100, 40), 10 * 3_600_000);
  t.equal(happen(120, 100, 100), null);
  t.equal(happen(10, 100, 0), 3_600_000, "100 in the 10 minutes it has run");
  t.end();
});
