// Three nodes that share, under load, while Redis and S3 fail in every way: no pull fails that the nodes' own disks or
// the upstream can serve, and what failed is used again without a restart.
import { setTimeout as delay } from "node:timers/promises";
import t, { type Test } from "tap";
import { Content } from "./fixtures/content.ts";
import { type FarRegistry, farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { type Fleet, startFleet } from "./fixtures/fleet.ts";
import { haproxyPrograms } from "./fixtures/haproxy.ts";
import { type Asked, Probe, PullLoad } from "./fixtures/pull-load.ts";
import { requires } from "./fixtures/requires.ts";
import { type SharedServices, sharedPrograms, startSharedServices } from "./fixtures/shared-services.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(300_000);

/** Milliseconds of an outage: longer than every bound and pause in the program; 30 s where there is time. */
const outage = Number(process.env.OUTAGE_SECONDS ?? 12) * 1000;
/** Milliseconds the 99th percentile of a cached manifest may rise by meanwhile. */
const mostRise = 250;
const clients = 12;
/** One pull in so many asks for a blob that nobody has yet. */
const coldEvery = 4;
const coldSize = 64 * 1024;

class Cluster {
  readonly fleet: Fleet;
  readonly services: SharedServices;
  readonly far: FarRegistry;
  #cold = 0;

  constructor(fleet: Fleet, services: SharedServices, far: FarRegistry) {
    this.fleet = fleet;
    this.services = services;
    this.far = far;
  }

  get urls(): string[] {
    return this.fleet.nodes.map(({ url }) => url);
  }

  /** A small image, and now and then a blob that nobody has; those are remembered in `fetched`. */
  load(t: Test, fetched: string[] = []): PullLoad {
    const { busybox } = this.far.images;
    const image = [
      { path: "library/busybox/manifests/1", digest: busybox.digest },
      ...busybox.blobs.map((digest) => ({ path: `library/busybox/blobs/${digest}`, digest })),
    ];
    const pull = (number: number): readonly Asked[] => {
      if (number % coldEvery > 0) return image;
      const cold = new Content(`cold ${this.#cold++}`, coldSize);
      this.far.front.add(cold);
      fetched.push(cold.digest);
      return [...image, { path: `made/cold/blobs/${cold.digest}`, digest: cold.digest }];
    };
    return new PullLoad(t, { clients, nodes: this.urls, pull });
  }

  probe(t: Test): Probe {
    return new Probe(t, this.urls, { path: "made/app/manifests/1", digest: this.far.images.app.digest });
  }

  /** What every node says of a store on /readyz, which stays 200. */
  async readiness(t: Test, store: "redis" | "s3", state: "ok" | "failed"): Promise<void> {
    for (const { ops } of this.fleet.nodes) {
      const answer = await fetch(`http://${ops}/readyz`);
      t.equal(answer.status, 200, "ready all the same");
      t.match(await answer.text(), new RegExp(`^${store} ${state}.*not required`, "m"));
    }
  }

  /** Waits until every node's gauge has this value. */
  async settles(store: "redis" | "s3", up: 0 | 1): Promise<void> {
    await until(`${store} is ${up} on every node`, async () => {
      const values = await Promise.all(
        this.fleet.nodes.map((node) => node.metric("entrepot_shared_store_up", store)),
      );
      return values.every((value) => value === up);
    });
  }
}

t.test("what is shared fails", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...haproxyPrograms, ...sharedPrograms)) return;
  const far = await startFarRegistry(t);
  const services = await startSharedServices(t);
  const fleet = await startFleet(t, far.front, 3, { ...services.env, ENTREPOT_TAG_TTL: "1h" });
  const cluster = new Cluster(fleet, services, far);
  const { redis, s3 } = services;
  await cluster.settles("redis", 1);

  await t.test("Redis frozen under load", async (t) => {
    const load = cluster.load(t);
    const probe = cluster.probe(t);
    await load.more(60);
    probe.take();
    await delay(3_000);
    const before = probe.take();
    redis.signal("SIGSTOP");
    t.teardown(() => redis.signal("SIGCONT"));
    const pulls = load.pulls;
    await delay(outage);
    const during = probe.take();
    t.comment(`${load.pulls - pulls} pulls in ${outage / 1000} s without Redis`);
    t.comment(`cached manifest: p99 ${shown(before)} before, ${shown(during)} during`);
    await cluster.readiness(t, "redis", "failed");
    await cluster.settles("redis", 0);
    redis.signal("SIGCONT");
    const begin = performance.now();
    await cluster.settles("redis", 1);
    t.comment(`used again after ${(performance.now() - begin).toFixed(0)} ms`);
    await load.more(60);
    await load.stop();
    await probe.stop();
    await cluster.readiness(t, "redis", "ok");
    t.same([...load.problems, ...probe.problems], [], "0 failed pulls");
    t.ok(load.pulls > 200, "under load");
    t.ok(during.p99 - before.p99 <= mostRise, `p99 rose by ${(during.p99 - before.p99).toFixed(0)} ms`);
    await sharesAgain(t, cluster);
  });

  for (const [name, stop, start] of [
    ["killed", () => s3.kill(), () => s3.startAgain()],
    ["frozen", () => s3.freeze(), async () => s3.thaw()],
  ] as const) {
    await t.test(`S3 ${name} under load`, async (t) => {
      const fetched: string[] = [];
      const load = cluster.load(t, fetched);
      const probe = cluster.probe(t);
      await load.more(60);
      probe.take();
      await delay(2_000);
      const before = probe.take();
      await stop();
      const pulls = load.pulls;
      await delay(outage);
      const during = probe.take();
      t.comment(`${load.pulls - pulls} pulls in ${outage / 1000} s without S3`);
      t.comment(`cached manifest: p99 ${shown(before)} before, ${shown(during)} during`);
      await cluster.readiness(t, "s3", "failed");
      await start();
      const begin = performance.now();
      await cluster.settles("s3", 1);
      t.comment(`used again after ${(performance.now() - begin).toFixed(0)} ms`);
      await load.more(60);
      await load.stop();
      await probe.stop();
      t.same([...load.problems, ...probe.problems], [], "0 failed pulls");
      await cluster.readiness(t, "s3", "ok");
      await until(
        "all of it is uploaded",
        async () => {
          const there = await services.uploaded();
          return fetched.every((digest) => there.has(digest));
        },
        90_000,
      );
      t.comment(`${fetched.length} blobs uploaded, the last ${seconds(begin)} s after S3 was back`);
    });
  }

  for (const [name, harm, heal] of [
    ["emptied", () => redis.call("FLUSHALL"), async () => {}],
    [
      "read-only",
      () => redis.call("REPLICAOF", "127.0.0.1", "1"),
      () => redis.call("REPLICAOF", "NO", "ONE"),
    ],
    [
      "out of memory",
      () => redis.call("CONFIG", "SET", "maxmemory", "1"),
      () => redis.call("CONFIG", "SET", "maxmemory", "0"),
    ],
    ["full of garbage", () => spoil(cluster), async () => {}],
  ] as const) {
    await t.test(`Redis ${name} under load`, async (t) => {
      const load = cluster.load(t);
      await load.more(40);
      await harm();
      await load.more(120);
      await heal();
      await load.more(40);
      await load.stop();
      t.same(load.problems, [], "0 failed pulls");
      await cluster.settles("redis", 1);
      await sharesAgain(t, cluster);
    });
  }
});

/** What one node fetches another finds, and the upstream is asked once. */
async function sharesAgain(t: Test, { fleet, far }: Cluster): Promise<void> {
  const blob = new Content(`shared again ${t.name}`, coldSize);
  far.front.add(blob);
  for (const { url } of fleet.nodes) {
    const answer = await fetch(`${url}/v2/made/again/blobs/${blob.digest}`);
    t.equal(answer.status, 200);
    await answer.arrayBuffer();
  }
  t.equal(far.front.log.blobGets(blob.digest).length, 1, "the nodes share again");
  t.equal(
    far.front.log.entries.filter(({ method, path }) => method === "HEAD" && path.endsWith(blob.digest))
      .length,
    0,
    "what one has proved the others know",
  );
}

/** Every value of another kind, or of no sense; at one moment, for the nodes write on. */
async function spoil({ services: { redis } }: Cluster): Promise<void> {
  const script = `redis.call("DEL", KEYS[1]) redis.call(ARGV[1], KEYS[1], "no value at all")`;
  const keys = (await redis.call("KEYS", "*")) as string[];
  for (const [at, key] of keys.entries())
    await redis.call("EVAL", script, 1, key, at % 2 === 0 ? "SET" : "RPUSH");
}

function shown({ p99, longest, count }: ReturnType<Probe["take"]>): string {
  return `${p99.toFixed(0)} ms (longest ${longest.toFixed(0)} ms, ${count} requests)`;
}

function seconds(begin: number): string {
  return ((performance.now() - begin) / 1000).toFixed(1);
}
