// What operators block where it has to hold at once: on a node with workers, which answer by themselves, and on three nodes that
// share Redis, which is frozen meanwhile.
import { request } from "node:http";
import t, { type Test } from "tap";
import type { DatacenterDocument } from "../../src/ops/stats/datacenter.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import {
  type BlockAnswer,
  block,
  blockedDigests,
  fillUpstream,
  givingWays,
  go,
  images,
  leaks,
  repository,
  servedWays,
  unblock,
  warmUp,
} from "../fixtures/block-ways.ts";
import { makeImage } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { freePort } from "./fixtures/free-port.ts";
import { type RedisServer, redisConfig, redisPrograms, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

/** Milliseconds in which a node hears of what nobody tells it: it looks every 15 s. */
const patience = 60_000;
const { bad, good } = images;
const secret = fixedSecret(new Secret("a secret of all nodes".padEnd(32, "x")));
const at = (rest: string) => `/v2/${repository}/${rest}`;

/** A client that has got the head of an answer, and reads no further until it is asked how that ends. */
function reading(place: Pick<URL, "hostname" | "port">, path: string) {
  return new Promise<{ readonly status: number; ended(): Promise<"whole" | "broken off"> }>(
    (resolve, reject) => {
      const { hostname, port } = place;
      const sent = request({ hostname, port, path, agent: false }, (answer) => {
        answer.pause();
        answer.on("error", () => {});
        resolve({
          status: answer.statusCode ?? 0,
          ended: () =>
            new Promise((over) => {
              answer.on("close", () => over(answer.complete ? "whole" : "broken off"));
              answer.resume();
            }),
        });
      });
      sent.on("error", reject);
      sent.end();
    },
  );
}

t.test("four workers give nothing of what is blocked, from the moment it is said to be", async (t) => {
  if (!requires(t, "linux")) return;
  const upstream = await startUpstream(t);
  fillUpstream(upstream);
  const large = makeImage({ layers: [60_000_000], seed: "large" });
  upstream.addImage(repository, "large", large);
  const far = { url: upstream.url.href, username: upstream.username, password: upstream.password };
  const mirror = await startWorkers(t, far, 4, { env: { ENTREPOT_TAG_TTL: "1h" } });
  const place = new URL(mirror.url);
  const ops = new URL(`http://${mirror.ops}`);
  await warmUp(place);
  // Each connection may come to another worker, and each remembers what it was granted.
  for (let round = 0; round < 4; round++) for (const way of givingWays) await go(way, place);
  for (const digest of blockedDigests) t.equal((await block(ops, digest)).status, 200);
  for (let round = 0; round < 4; round++) t.same(await leaks([place]), []);
  for (const way of servedWays) t.equal((await go(way, place)).status, 200, way.name);
  for (const digest of blockedDigests) t.equal((await unblock(ops, digest)).status, 200);
  for (const way of givingWays) t.ok((await go(way, place)).status < 300, `${way.name} is served again`);

  const path = at(`blobs/${large.layers[0]?.digest}`);
  await go({ name: "its manifest", path: at("manifests/large") }, place);
  const filled = await Promise.all(Array.from({ length: 8 }, () => reading(place, path)));
  const first = await reading(place, path);
  await until("it is stored", async () => (await mirror.metric("entrepot_fills_running")) === 0);
  const stored = await Promise.all(Array.from({ length: 8 }, () => reading(place, path)));
  await block(ops, large.digest);
  for (const client of [first, ...filled, ...stored]) {
    t.equal(client.status, 200);
    t.equal(await client.ended(), "broken off");
  }
  t.equal((await go({ name: "it", path }, place)).status, 403);
});

async function startNodes(t: Test, redis: RedisServer) {
  const upstream = await startUpstream(t);
  fillUpstream(upstream);
  const root = t.testdir({ a: {}, b: {}, c: {} });
  const ports = { a: await freePort(), b: await freePort(), c: await freePort() };
  const start = (name: "a" | "b" | "c", signed = true): Promise<Mirror> =>
    startMirror(t, upstream, {
      node: {
        name,
        address: `http://127.0.0.1:${ports[name]}`,
        secret: signed ? secret : undefined,
      },
      port: ports[name],
      redis: redisConfig(redis),
      cache: { dir: `${root}/${name}` },
      tags: { ttl: 3_600_000 },
    });
  return { upstream, start };
}

async function acquainted(mirror: Mirror): Promise<void> {
  await until("it has heard of the others", async () => {
    const answer = await fetch(new URL("/api/v1/datacenter", mirror.ops));
    return ((await answer.json()) as DatacenterDocument).totals.nodes === 3;
  });
}

const statesOf = ({ said }: BlockAnswer) => said.nodes?.map(({ name, state }) => [name, state]);

t.test("three nodes refuse it within a second, and also while Redis is frozen", async (t) => {
  if (!requires(t, "linux", ...redisPrograms)) return;
  const redis = await startRedis(t);
  const { start } = await startNodes(t, redis);
  const mirrors = [await start("a"), await start("b"), await start("c")] as const;
  const [a, b, c] = mirrors;
  for (const mirror of mirrors) {
    await warmUp(mirror.url);
    await acquainted(mirror);
  }
  for (const digest of blockedDigests) {
    const begun = performance.now();
    t.same(statesOf(await block(a.ops, digest)), [
      ["a", "done"],
      ["b", "done"],
      ["c", "done"],
    ]);
    t.comment(`confirmed by three nodes after ${Math.round(performance.now() - begun)} ms`);
  }
  t.same(await leaks(mirrors.map(({ url }) => url)), []);
  redis.signal("SIGSTOP");
  const begun = performance.now();
  const answer = await block(b.ops, good.digest);
  t.comment(`with Redis frozen: ${Math.round(performance.now() - begun)} ms`);
  t.same(statesOf(answer), [
    ["b", "done"],
    ["a", "done"],
    ["c", "done"],
  ]);
  for (const { url } of mirrors)
    t.equal((await go({ name: "it", path: at("manifests/good") }, url)).status, 403);
  await c.app.stop();
  const back = await start("c");
  t.equal((await go({ name: "it", path: at("manifests/good") }, back.url)).status, 403, "it has kept it");
  const ready = await (await fetch(new URL("/readyz", back.ops))).text();
  t.match(ready, /^blocks failed: .*not known yet/m);
  redis.signal("SIGCONT");
  await until(
    "it has heard",
    async () => /^blocks ok/m.test(await (await fetch(new URL("/readyz", back.ops))).text()),
    patience,
  );
});

t.test("nodes that cannot ask each other hear of it from Redis, when that answers again", async (t) => {
  if (!requires(t, "linux", ...redisPrograms)) return;
  const redis = await startRedis(t);
  const { start } = await startNodes(t, redis);
  const mirrors = [await start("a", false), await start("b", false), await start("c", false)] as const;
  const [a, b, c] = mirrors;
  for (const mirror of mirrors) {
    await mirror.get(at("manifests/bad"));
    await acquainted(mirror);
  }
  const status = async ({ url }: Mirror, tag: string) =>
    (await go({ name: tag, path: at(`manifests/${tag}`) }, url)).status;
  t.same(statesOf(await block(a.ops, bad.digest)), [
    ["a", "done"],
    ["b", "told"],
    ["c", "told"],
  ]);
  for (const mirror of mirrors)
    await until("it is refused", async () => (await status(mirror, "bad")) === 403, patience);
  redis.signal("SIGSTOP");
  t.same(statesOf(await block(a.ops, good.digest)), [
    ["a", "done"],
    ["b", "unconfirmed"],
    ["c", "unconfirmed"],
  ]);
  t.equal(await status(a, "good"), 403, "here it holds");
  t.equal(await status(b, "good"), 200, "and cannot have been heard of there");
  redis.signal("SIGCONT");
  for (const mirror of [b, c])
    await until("it is refused", async () => (await status(mirror, "good")) === 403, patience);
});
