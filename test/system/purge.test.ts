// What operators purge where nodes share Redis: on three nodes, one of them stopped meanwhile, with and without a secret of the nodes;
// and on a node with workers, which remember what they have answered.
import { readdir } from "node:fs/promises";
import { Agent } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { PurgeReport } from "../../src/ops/purge/purge-report.ts";
import type { DatacenterDocument } from "../../src/ops/stats/datacenter.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { makeImage } from "../fixtures/images.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { freePort } from "./fixtures/free-port.ts";
import { ask } from "./fixtures/named-mirror.ts";
import { type RedisServer, redisConfig, redisPrograms, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(180_000);

const repository = "team/app";
const secret = fixedSecret(new Secret("a secret of all nodes".padEnd(32, "x")));

async function purge(ops: URL, reference: string): Promise<PurgeReport> {
  const answer = await fetch(new URL("/api/v1/purge", ops), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ reference }),
  });
  return (await answer.json()) as PurgeReport;
}

async function stored({ directory }: Mirror): Promise<number> {
  const files = await readdir(join(directory, "blobs"), { recursive: true, withFileTypes: true });
  return files.filter((each) => each.isFile()).length;
}

async function startNodes(t: Test, redis: RedisServer, signed: boolean, clock: Clock = Date.now) {
  const upstream = await startUpstream(t);
  const root = t.testdir({ a: {}, b: {}, c: {} });
  const ports = { a: await freePort(), b: await freePort(), c: await freePort() };
  const start = async (name: "a" | "b" | "c"): Promise<Mirror> => {
    const node = { name, address: `http://127.0.0.1:${ports[name]}`, secret: signed ? secret : undefined };
    const mirror = await startMirror(t, upstream, {
      clock,
      node,
      port: ports[name],
      redis: redisConfig(redis),
      cache: { dir: `${root}/${name}` },
      tags: { ttl: 3_600_000 },
    });
    return mirror;
  };
  return { upstream, start, mirrors: [await start("a"), await start("b"), await start("c")] as const };
}

for (const signed of [true, false])
  t.test(`nodes with Redis, ${signed ? "that ask each other" : "without a secret"}`, async (t) => {
    if (!requires(t, "linux", ...redisPrograms)) return;
    const redis = await startRedis(t);
    const { upstream, start, mirrors } = await startNodes(t, redis, signed);
    const [a, b, c] = mirrors;
    const image = makeImage({ layers: [10_000, 20_000] });
    const other = makeImage({ layers: [5_000], seed: "other" });
    upstream.addImage(repository, "1", image);
    upstream.addImage(repository, "2", other);
    for (const mirror of mirrors) {
      for (const [tag, { layers }] of [
        ["1", image],
        ["2", other],
      ] as const) {
        await mirror.get(`/v2/${repository}/manifests/${tag}`);
        for (const { digest } of layers) await mirror.get(`/v2/${repository}/blobs/${digest}`);
      }
      await until("all is on the disk", async () => (await stored(mirror)) === 5);
    }
    await until("a has heard of the others", async () => {
      const answer = await fetch(new URL("/api/v1/datacenter", a.ops));
      return ((await answer.json()) as DatacenterDocument).totals.nodes === 3;
    });
    await c.app.stop();
    const report = await purge(a.ops, `${repository}:1`);
    t.match(report.nodes[0], { name: "a", state: "done", parts: 3 });
    t.match(
      report.nodes.map(({ name, state }) => [name, state]),
      [
        ["a", "done"],
        ["b", signed ? "done" : "told"],
        ["c", signed ? "away" : "told"],
      ],
    );
    t.equal(await stored(a), 2);
    await until("b has heard of it", async () => (await stored(b)) === 2);
    t.equal(await stored(c), 5);
    const back = await start("c");
    await until("c has heard of it", async () => (await stored(back)) === 2);
    upstream.forget();
    for (const mirror of [a, b, back])
      t.equal((await mirror.get(`/v2/${repository}/manifests/2`)).status, 200);
    t.equal(upstream.requests.length, 0, "the other image is still here");
    t.equal((await a.get(`/v2/${repository}/manifests/1`)).status, 200);
    t.equal(upstream.count({ kind: "manifest", method: "GET" }), 1, "no record was left in Redis");
    t.equal((await a.get(`/v2/${repository}/blobs/${image.layers[0]?.digest}`)).status, 200);
    t.equal(upstream.count({ reference: image.layers[0]?.digest ?? "" }), 1);
    await until("it is on the disk", async () => (await stored(a)) === 4);
    await redis.kill();
    await purge(a.ops, `${repository}:2`);
    t.equal(await stored(a), 2, "also without Redis");
  });

t.test("a node that hears of it late deletes no record and no right from after it", async (t) => {
  if (!requires(t, "linux", ...redisPrograms)) return;
  const redis = await startRedis(t);
  const clock = new ManualClock();
  // Files have the time of the machine.
  clock.now = Date.now();
  const { upstream, start, mirrors } = await startNodes(t, redis, true, clock.read);
  const [a, b, c] = mirrors;
  const image = makeImage({ layers: [10_000] });
  const path = `/v2/${repository}/manifests/1`;
  for (const subject of [repository, `${repository}@${image.digest}`, `${repository}:1`]) {
    upstream.addImage(repository, "1", image);
    const node = subject === repository ? c : await start("c");
    for (const mirror of [a, node]) {
      t.equal((await mirror.get(path)).status, 200);
      await mirror.get(`/v2/${repository}/blobs/${image.layers[0]?.digest}`);
    }
    await until("all is on the disk", async () => (await stored(node)) === 2 && (await stored(a)) === 2);
    await node.app.stop();
    await purge(a.ops, subject);
    clock.advance(60_000);
    t.equal((await a.get(path)).status, 200);
    const back = await start("c");
    await until("c has heard of it", async () => (await stored(back)) === 0);
    await back.app.stop();
    upstream.forget();
    t.equal((await a.get(path)).status, 200);
    t.equal(upstream.requests.length, 0, `${subject}: the record stays`);
    t.equal((await b.get(`/v2/${repository}/manifests/${image.digest}`)).status, 200);
    t.equal(upstream.count({ method: "HEAD" }), 0, `${subject}: the right stays`);
    clock.advance(60_000);
  }
});

t.test("what Redis was away for is deleted when it is back, and nothing from after the purge", async (t) => {
  if (!requires(t, "linux", ...redisPrograms)) return;
  const redis = await startRedis(t);
  const clock = new ManualClock();
  clock.now = Date.now();
  const { upstream, mirrors } = await startNodes(t, redis, true, clock.read);
  const [a] = mirrors;
  upstream.addImage(repository, "1", makeImage({ layers: [10_000] }));
  const path = `/v2/${repository}/manifests/1`;
  t.equal((await a.get(path)).status, 200);
  const known = () =>
    redis.ask(async (client) => (await client.keys("*")).filter((key) => key.includes(repository)));
  await until("the tag and its links are in Redis", async () => (await known()).length === 2);
  await redis.ask((client) => client.save());
  await redis.kill();
  t.match((await purge(a.ops, repository)).nodes[0], { name: "a", state: "partly" });
  clock.advance(60_000);
  t.equal((await a.get(path)).status, 200);
  await redis.start();
  await a.line(({ msg, done }) => msg === "purged from the cache" && done === true);
  t.same(await known(), []);
  upstream.forget();
  t.equal((await a.get(path)).status, 200);
  t.equal(upstream.requests.length, 0, "the tag is still known");
});

t.test("workers answer nothing from before a purge", async (t) => {
  if (!requires(t, "linux")) return;
  const upstream = await startUpstream(t);
  const far = { url: upstream.url.href, username: upstream.username, password: upstream.password };
  const mirror = await startWorkers(t, far, 2, { env: { ENTREPOT_TAG_TTL: "1h" } });
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const path = `/v2/${repository}/manifests/latest`;
  const pulls = async () =>
    new Set(
      await Promise.all(
        Array.from({ length: 20 }, async () => String((await ask(mirror, agent, path, "GET", {})).body)),
      ),
    );
  for (let round = 0; round < 10; round++) {
    const image = makeImage({ layers: [], seed: `round ${round}` });
    upstream.addImage(repository, "latest", image);
    t.same([...(await pulls())], [image.manifest.toString()]);
    const report = await purge(new URL(`http://${mirror.ops}`), `${repository}:latest`);
    t.match(report.nodes, [{ state: "done", parts: 1 }]);
  }
});
