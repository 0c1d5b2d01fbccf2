// A Redis Cluster: every key has a master of its own, and some masters may be gone while others are not.
import t from "tap";
import type { Repository } from "../../src/oci/name.ts";
import { redisConfig, redisPrograms, startCluster } from "./fixtures/redis.ts";
import { app, latest, ownPrefix, RedisNode, record, timed } from "./fixtures/redis-node.ts";
import { redisSuites } from "./fixtures/redis-suites.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(120_000);

t.test("Cluster of three masters", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const [first, ...others] = await startCluster(t);
  if (first === undefined) throw new Error("there is none");
  const all = [first, ...others];
  const nodes = all.map(({ port }) => ({ host: "127.0.0.1", port }));
  const redis = redisConfig(first, { servers: { kind: "cluster", nodes } });
  await redisSuites(t, redis);
  const keys = await Promise.all(all.map((server) => server.call("DBSIZE")));
  t.ok(
    keys.every((count) => Number(count) > 0),
    "every master has some of it",
  );

  const names = Array.from({ length: 30 }, (_, at) => `team/app${at}` as Repository);
  /** A record of each of many repositories, which are on all masters. */
  const putAll = (node: RedisNode, time: number) =>
    Promise.all(
      names.map((name) =>
        timed(() => node.tags.put({ ...app, repository: name }, latest, record("a", time))),
      ),
    );

  await t.test("one master frozen: nobody waits long, and it is used when it is back", async (t) => {
    const node = await new RedisNode(t, ownPrefix(redis)).ready();
    t.ok((await putAll(node, 1)).every(({ value }) => value === true));
    first.signal("SIGSTOP");
    t.teardown(() => first.signal("SIGCONT"));
    const during = await putAll(node, 2);
    t.ok(
      during.every(({ took }) => took < 500),
      "bounded",
    );
    t.ok(
      during.some(({ value }) => value === true),
      "the others answer",
    );
    t.notOk(node.connection.usable, "it is given up for a second: who asks cannot know which is frozen");
    first.signal("SIGCONT");
    const isWhole = async (): Promise<boolean> =>
      (await putAll(node, 3)).every(({ value }) => value === true);
    await until("all is used again", isWhole);
  });

  await t.test("one master gone: the others are used, and it is when it is back", async (t) => {
    const node = await new RedisNode(t, ownPrefix(redis)).ready();
    t.ok((await putAll(node, 1)).every(({ value }) => value === true));
    await first.ask((client) => client.config("SET", "cluster-require-full-coverage", "no"));
    for (const server of others) await server.call("CONFIG", "SET", "cluster-require-full-coverage", "no");
    await first.kill();
    const during = await putAll(node, 2);
    t.ok(
      during.every(({ took }) => took < 500),
      "bounded",
    );
    t.ok(during.every(({ value, error }) => value === true || error !== undefined));
    await first.start();
    await until("all is used again", async () =>
      (await putAll(node, 3)).every(({ value }) => value === true),
    );
  });
});
