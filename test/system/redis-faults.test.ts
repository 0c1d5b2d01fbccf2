// Redis failing in every way it can, on real servers: what callers get and how soon, and that it is used again
// afterwards without a restart.
import t, { type Test } from "tap";
import { SharedLinks } from "../../src/cache/sharing/shared-links.ts";
import { SharedTags } from "../../src/cache/sharing/shared-tags.ts";
import type { Notice } from "../../src/ports/event.ts";
import { openIndex } from "../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../fixtures/blob-store-suite.ts";
import { type RedisServer, redisConfig, redisPrograms, startRedis } from "./fixtures/redis.ts";
import { app, isUnavailable, latest, RedisNode, record, timed } from "./fixtures/redis-node.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(120_000);

const digest = digestOf(Buffer.from("layer"));
/** Milliseconds a question may take at most: the time-out, and what a busy machine adds. */
const bound = 450;

/** A node with its own index below what is shared. */
class Layered extends RedisNode {
  readonly index;
  readonly told: Notice[] = [];
  readonly sharedTags: SharedTags;
  readonly sharedLinks: SharedLinks;
  now = 1_000_000;

  constructor(t: Test, server: RedisServer) {
    super(t, redisConfig(server));
    this.index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => this.index.close());
    const usable = (): boolean => this.connection.usable;
    const notices = (notice: Notice): void => void this.told.push(notice);
    const { announcements } = this;
    const common = { usable, notices, announcements };
    const clock = (): number => this.now;
    this.sharedTags = new SharedTags({
      ...common,
      local: this.index.tags,
      shared: this.tags,
      clock,
      steady: clock,
    });
    this.sharedLinks = new SharedLinks({ ...common, local: this.index.links, shared: this.links });
  }

  /** Long enough for a look at the shared record. */
  later(): void {
    this.now += 5_001;
  }
}

async function start(t: Test, args: readonly string[] = []) {
  const server = await startRedis(t, { args });
  const node = new Layered(t, server);
  await node.ready();
  t.equal(await node.sharedTags.put(app, latest, record("a", 100)), true);
  await node.sharedLinks.add(app, [{ digest, size: 7 }]);
  return { server, node };
}

/** What is cached here is given whatever Redis does, and how long that took. */
async function localAnswers(t: Test, node: Layered): Promise<number> {
  node.later();
  const tag = await timed(() => node.sharedTags.get(app, latest));
  t.strictSame(tag.value, record("a", 100), "the tag as it is known here");
  const link = await timed(() => node.sharedLinks.has(app, digest));
  t.equal(link.value, true, "the link as it is known here");
  return tag.took + link.took;
}

async function usedAgain(t: Test, node: Layered): Promise<void> {
  const from = performance.now();
  await node.ready();
  t.comment(`used again after ${Math.round(performance.now() - from)} ms`);
  const time = node.now;
  t.equal(await node.tags.put(app, latest, record("again", time)), true, "written to");
  t.strictSame(await node.tags.get(app, latest), record("again", time), "read from");
  const taken = await node.leases.acquire("again");
  t.ok("lease" in taken, "leases are given");
  if ("lease" in taken) await taken.lease.release();
}

t.test("frozen", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  server.signal("SIGSTOP");
  t.teardown(() => server.signal("SIGCONT"));
  node.later();
  const questions = [
    () => node.tags.get(app, latest),
    () => node.tags.put(app, latest, record("b", 200)),
    () => node.links.has(app, digest),
    () => node.leases.acquire("blob a"),
    () => node.sharedTags.get(app, latest),
  ];
  const first = await Promise.all(questions.map((ask) => timed<unknown>(ask)));
  t.comment(`the first questions: ${first.map(({ took }) => `${Math.round(took)} ms`).join(", ")}`);
  t.ok(
    first.every(({ took }) => took < bound),
    "bounded",
  );
  t.ok(first.slice(0, 4).every(({ error }) => isUnavailable(error)));
  t.notOk(node.connection.usable, "then it is not asked any more");
  const more = await Promise.all(Array.from({ length: 200 }, () => timed(() => node.tags.get(app, latest))));
  t.ok(more.every(({ error }) => isUnavailable(error)));
  const slowest = Math.max(...more.map(({ took }) => took));
  t.ok(slowest < 50, `at once: ${slowest.toFixed(1)} ms`);
  node.told.length = 0;
  t.ok((await localAnswers(t, node)) < 50);
  t.strictSame(node.told, [], "nothing is told for each question");
  t.strictSame(node.states, [true, false], "once when it stopped");
  void node.announcements.publish({ kind: "released", key: "lost" });
  const closing = timed(async () => await node.leases.close());
  t.ok((await closing).took < bound);
  server.signal("SIGCONT");
  await usedAgain(t, node);
});

t.test("frozen while a lease is held: it is lost, and free for others afterwards", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const server = await startRedis(t);
  const node = await new RedisNode(t, redisConfig(server), { leaseLifetime: 600 }).ready();
  const taken = await node.leases.acquire("blob a");
  if (!("lease" in taken)) throw new Error("it was free");
  server.signal("SIGSTOP");
  t.teardown(() => server.signal("SIGCONT"));
  await until("it is lost", () => taken.lease.lost.aborted, 2_000);
  const release = await timed(() => taken.lease.release());
  t.ok(release.took < bound && release.error === undefined, "giving it back neither waits nor fails");
  server.signal("SIGCONT");
  await node.ready();
  await until("it is free", async () => "lease" in (await node.leases.acquire("blob a")));
});

t.test("killed and started again", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  await server.kill();
  await until("it is noticed", () => !node.connection.usable);
  const asked = await timed(() => node.tags.get(app, latest));
  t.ok(isUnavailable(asked.error) && asked.took < 50, "refused at once");
  t.ok((await localAnswers(t, node)) < 50);
  t.strictSame(node.told, []);
  await server.start();
  await usedAgain(t, node);
  t.strictSame(node.states, [true, false, true]);
});

t.test("not there at start, and gone at the end", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const server = await startRedis(t);
  await server.kill();
  const opened = await timed(async () => new Layered(t, server));
  const node = opened.value;
  if (node === undefined) throw opened.error;
  t.ok(opened.took < bound);
  t.equal(await node.sharedTags.put(app, latest, record("a", 100)), true);
  await until("it says why", () => node.states.length > 0);
  t.match(node.notices[0], { usable: false, message: /ECONNREFUSED/ });
  await server.start();
  await usedAgain(t, node);
  server.signal("SIGSTOP");
  t.teardown(() => server.signal("SIGCONT"));
  t.ok((await timed(async () => node.close())).took < bound);
});

t.test("flapping", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  for (let round = 0; round < 5; round++) {
    await server.kill();
    const during = await Promise.all(Array.from({ length: 20 }, () => timed(() => localAnswers(t, node))));
    t.ok(during.every(({ took }) => took < 2 * bound));
    await server.start();
    await until("it is used in between", () => node.connection.usable);
    node.index.tags.put(app, latest, record("a", 100));
  }
  await usedAgain(t, node);
});

t.test("no memory left", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  await server.call("CONFIG", "SET", "maxmemory", "1");
  const put = await timed(() => node.tags.put(app, latest, record("b", 200)));
  t.ok(isUnavailable(put.error) && put.took < bound);
  t.match((put.error as Error).message, /OOM/);
  t.strictSame(await node.tags.get(app, latest), record("a", 100), "reads go on");
  t.ok(node.connection.usable, "a refusal costs no time: it is asked again");
  t.equal(await node.sharedTags.put(app, latest, record("c", 300)), true, "kept here");
  t.match(node.told, [{ kind: "store_error", op: "redis.tags.put", code: "unavailable" }]);
  await server.call("CONFIG", "SET", "maxmemory", "0");
  await usedAgain(t, node);
});

t.test("a server that has become a replica", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  const other = await startRedis(t);
  await server.call("REPLICAOF", "127.0.0.1", other.port);
  const put = await timed(() => node.tags.put(app, latest, record("b", 200)));
  t.ok(isUnavailable(put.error) && put.took < bound);
  t.match((put.error as Error).message, /READONLY/);
  await localAnswers(t, node);
  await server.call("REPLICAOF", "NO", "ONE");
  await usedAgain(t, node);
});

t.test("emptied: what is known here stays", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  const taken = await node.leases.acquire("blob a");
  await server.call("FLUSHALL");
  await localAnswers(t, node);
  t.strictSame(await node.index.tags.get(app, latest), record("a", 100));
  if ("lease" in taken) await until("the lease is gone too", () => taken.lease.lost.aborted);
  await server.call("SCRIPT", "FLUSH");
  await usedAgain(t, node);
});

t.test("garbage where values should be", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { server, node } = await start(t);
  const { keys } = node.connection;
  const [tag, links, size, lease] = [
    keys.tag(app, latest),
    keys.links(app),
    keys.size(digest),
    keys.lease("blob a"),
  ];
  const good = JSON.stringify(record("x", 9_999_999));
  const garbage = [
    "",
    "not json",
    "null",
    "[]",
    good.slice(0, -1),
    good.replace(/sha256:[0-9a-f]{64}/, "sha256:../../etc/passwd"),
    good.replace(/sha256:/, "md5:"),
    good.replace('"size":7', '"size":-1'),
    good.replace(/"mediaType":"[^"]*"/, `"mediaType":"${"x".repeat(5000)}"`),
    good.replace("9999999", '"soon"'),
    "[".repeat(5_000),
  ];
  for (const [at, value] of garbage.entries()) {
    await server.call("SET", tag, value);
    node.notices.length = 0;
    t.equal(await node.tags.get(app, latest), undefined, `not there: ${value.slice(0, 60)}`);
    t.match(node.notices, [{ kind: "store_error", op: "redis.tags.get", code: "io" }]);
    t.strictSame(await localAnswers(t, node).then(() => true), true);
    t.equal(await node.tags.put(app, latest, record("b", 200 + at)), true, "replaced");
    t.strictSame(await node.tags.get(app, latest), record("b", 200 + at));
  }
  for (const key of [tag, links, size, lease]) {
    await server.call("DEL", key);
    await server.call("RPUSH", key, "a list");
  }
  t.equal(await node.tags.get(app, latest), undefined);
  t.equal(await node.links.has(app, digest), false, "grants nothing");
  t.equal(await node.links.statedSize(app, digest), undefined);
  await node.links.remove(app, digest);
  t.equal(await node.tags.put(app, latest, record("c", 300)), true);
  await node.links.add(app, [{ digest, size: 8 }]);
  t.equal(await node.links.has(app, digest), true);
  t.equal(await node.links.statedSize(app, digest), 8);
  const taken = await node.leases.acquire("blob a");
  t.ok("lease" in taken, "no lease at all");
  if ("lease" in taken) await taken.lease.release();
  t.ok(node.connection.usable, "none of it is taken for a broken Redis");
  await usedAgain(t, node);
});
