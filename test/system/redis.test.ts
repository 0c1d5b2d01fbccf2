// Redis as what nodes share, on real servers: the suites, and each way to reach it.
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { SharedLinks } from "../../src/cache/sharing/shared-links.ts";
import { SharedTags } from "../../src/cache/sharing/shared-tags.ts";
import { secretFile } from "../../src/config/secret-file.ts";
import type { Notice } from "../../src/ports/event.ts";
import type { LinkStore } from "../../src/ports/records.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import type { Announcement } from "../../src/ports/shared.ts";
import { openIndex } from "../../src/storage/index/sqlite-index.ts";
import { openRedisShared } from "../../src/storage/redis/shared.ts";
import { digestOf } from "../fixtures/blob-store-suite.ts";
import { Authority } from "../fixtures/certificates.ts";
import { linkStoreSuite } from "../fixtures/link-store-suite.ts";
import { tagStoreSuite } from "../fixtures/tag-store-suite.ts";
import { freePort } from "./fixtures/free-port.ts";
import { redisConfig, redisPrograms, startRedis, startSentinels } from "./fixtures/redis.ts";
import {
  app,
  latest,
  lifetime,
  ownPrefix,
  pause,
  RedisNode,
  record,
  timed,
  upstreams,
} from "./fixtures/redis-node.ts";
import { redisSuites } from "./fixtures/redis-suites.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(240_000);

t.test("one server", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const server = await startRedis(t);
  await redisSuites(t, redisConfig(server));
  const layered = async (t: Test) => {
    const node = await new RedisNode(t, ownPrefix(redisConfig(server))).ready();
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    const notices = (notice: Notice): void => {
      t.fail(JSON.stringify(notice));
    };
    const shared = { usable: () => node.connection.usable, announcements: node.announcements, notices };
    return { node, index, shared };
  };
  await t.test("tags over the index", (t) =>
    tagStoreSuite(t, async (t) => {
      const { node, index, shared } = await layered(t);
      return new SharedTags({
        ...shared,
        local: index.tags,
        shared: node.tags,
        clock: Date.now,
        steady: Date.now,
      });
    }),
  );
  await t.test("links over the index", (t) =>
    linkStoreSuite(t, async (t): Promise<LinkStore> => {
      const { node, index, shared } = await layered(t);
      return new SharedLinks({ ...shared, local: index.links, shared: node.links });
    }),
  );

  await t.test("what is written goes by itself", async (t) => {
    const { tags, links, connection } = await new RedisNode(t, ownPrefix(redisConfig(server))).ready();
    await tags.put(app, latest, record("a", 1));
    await links.add(app, [{ digest: digestOf(Buffer.from("a")), size: 1 }]);
    const left = (key: string): Promise<number> => connection.run("look", (client) => client.pttl(key));
    const tag = await left(connection.keys.tag(app, latest));
    t.ok(tag > lifetime - 5_000 && tag <= lifetime, `a record in ${tag} ms`);
    const days = 86_400_000;
    for (const key of [connection.keys.links(app), connection.keys.size(digestOf(Buffer.from("a")))])
      t.ok(Math.abs((await left(key)) - 30 * days) < 60_000, "the rest in 30 days");
  });

  await t.test("a lease that somebody else has by now is lost", async (t) => {
    const redis = ownPrefix(redisConfig(server));
    const { leases, connection, announced } = await new RedisNode(t, redis, {
      address: "http://10.0.0.1:5000",
      leaseLifetime: 300,
    }).ready();
    const taken = await leases.acquire("blob a");
    if (!("lease" in taken)) throw new Error("it was free");
    await connection.run("steal", (client) =>
      client.set(connection.keys.lease("blob a"), "thief http://10.0.0.9:5000"),
    );
    await until("the heartbeat finds out", () => taken.lease.lost.aborted);
    await taken.lease.release();
    t.strictSame(announced, []);
    t.strictSame(await leases.acquire("blob a"), { heldBy: "http://10.0.0.9:5000" }, "the thief keeps it");
    for (const odd of [
      "no-space",
      "x javascript:alert(1)",
      "x http://user:pw@10.0.0.1",
      "x http://10.0.0.1/path",
    ]) {
      await connection.run("steal", (client) => client.set(connection.keys.lease("blob a"), odd));
      t.strictSame(await leases.acquire("blob a"), { heldBy: undefined }, odd);
    }
  });

  await t.test("a lease lives as long as its holder", async (t) => {
    const { leases, connection } = await new RedisNode(t, ownPrefix(redisConfig(server)), {
      leaseLifetime: 300,
    }).ready();
    const taken = await leases.acquire("blob a");
    if (!("lease" in taken)) throw new Error("it was free");
    await sleep(900);
    t.notOk(taken.lease.lost.aborted, "three lifetimes later");
    t.ok("heldBy" in (await leases.acquire("blob a")));
    await leases.close();
    t.equal(await connection.run("look", (client) => client.exists(connection.keys.lease("blob a"))), 0);
  });

  await t.test("one name for two registries: neither believes the other", async (t) => {
    const redis = ownPrefix(redisConfig(server));
    const elsewhere = upstreams.map((each) => ({ ...each, url: new URL("https://other.example.com") }));
    const first = await new RedisNode(t, redis).ready();
    const second = await new RedisNode(t, redis, { upstreams: elsewhere }).ready();
    const same = await new RedisNode(t, redis).ready();
    await first.tags.put(app, latest, record("a", 1));
    await first.links.add(app, [{ digest: record("a", 1).digest, size: 1 }]);
    t.equal(await second.tags.get(app, latest), undefined);
    t.equal(await second.links.has(app, record("a", 1).digest), false);
    const heard: Record<"second" | "same", Announcement[]> = { second: [], same: [] };
    for (const [name, node] of Object.entries({ second, same }) as ["second" | "same", RedisNode][])
      node.announcements.subscribe(
        (announcement) => heard[name].push(announcement),
        () => {},
      );
    first.announcements.publish({
      kind: "absent",
      scope: app,
      as: "manifest",
      what: "1",
    });
    first.announcements.publish({ kind: "released", key: "last" });
    await until("the last is heard", () => heard.second.length > 0 && heard.same.length > 1);
    t.strictSame(
      heard.second.map(({ kind }) => kind),
      ["released"],
    );
  });

  await t.test("a broken connection of the listener: what was missed is told", async (t) => {
    const node = await new RedisNode(t, ownPrefix(redisConfig(server))).ready();
    let missed = 0;
    node.announcements.subscribe(
      () => {},
      () => {
        missed++;
      },
    );
    t.equal(missed, 1, "at once");
    t.match(await server.call("CLIENT", "LIST"), /name=entrepot-node /, "administrators see whose it is");
    await server.call("CLIENT", "KILL", "TYPE", "pubsub");
    await until("it listens again", () => missed === 2);
  });

  await t.test("all of it opened and closed at once", async (t) => {
    const notices = (): void => {};
    const redis = ownPrefix(redisConfig(server));
    const common = { redis, upstreams, notices, pause, tagLifetime: () => Number.POSITIVE_INFINITY };
    const shared = openRedisShared({ ...common, nodeName: "one", address: "http://10.0.0.1:5000" });
    const other = await new RedisNode(t, redis).ready();
    await until("redis can be used", () => shared.usable);
    t.equal(await shared.tags.put(app, latest, record("a", 1)), true);
    t.ok("lease" in (await shared.leases.acquire("blob a")));
    const heard: Announcement[] = [];
    other.announcements.subscribe(
      (announcement) => heard.push(announcement),
      () => {},
    );
    const { took } = await timed(() => shared.close());
    t.ok(took < 400, `${took} ms`);
    await until("the lease was given back, and said so", () => heard.length > 0);
    t.strictSame(heard, [{ kind: "released", key: "blob a" }]);
    t.ok("lease" in (await other.leases.acquire("blob a")));
    t.notOk(shared.usable);
    await t.rejects(async () => shared.tags.get(app, latest), { code: "unavailable" });
  });

  await t.test("the cost of a question", async (t) => {
    const { tags } = await new RedisNode(t, ownPrefix(redisConfig(server))).ready();
    await tags.put(app, latest, record("a", 1));
    const times: number[] = [];
    for (let i = 0; i < 500; i++) times.push((await timed(() => tags.get(app, latest))).took);
    times.sort((a, b) => a - b);
    t.comment(`get: p50 ${times[250]?.toFixed(3)} ms, p99 ${times[495]?.toFixed(3)} ms`);
  });
});

t.test("TLS, with a certificate of our own", async (t) => {
  if (!requires(t, ...redisPrograms, "openssl")) return;
  const directory = await workDirectory(t);
  const authority = new Authority(directory, "authority");
  authority.issue("server", "DNS:redis.example.com");
  const own = authority.issue("own", "DNS:mirror.example.com");
  const file = (name: string): string => join(directory, name);
  const port = await freePort();
  const files = ["--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key")];
  const server = await startRedis(t, {
    args: ["--tls-port", String(port), ...files, "--tls-ca-cert-file", file("authority.pem")],
  });
  const { cert, key: keyText } = own;
  const key = new Secret(keyText);
  const at = { servers: { kind: "standalone", host: "127.0.0.1", port } } as const;
  const tls = { ca: authority.cert, cert, key, serverName: "redis.example.com" };
  const node = await new RedisNode(t, redisConfig(server, { ...at, tls })).ready();
  t.equal(await node.tags.put(app, latest, record("a", 1)), true);
  for (const wrong of [
    { ...tls, serverName: "other.example.com" },
    { ...tls, ca: undefined },
  ]) {
    const refused = new RedisNode(t, redisConfig(server, { ...at, tls: wrong }));
    await until("it says why", () => refused.states.length > 0);
    t.notOk(refused.connection.usable);
    t.match(refused.notices[0], { message: /certificate|altnames/i });
  }
});

t.test("a password in a file that is replaced", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const server = await startRedis(t);
  await server.call("ACL", "SETUSER", "mirror", "on", ">first", "~entrepot:*", "&entrepot:*", "+@all");
  const path = join(await workDirectory(t), "password");
  await writeFile(path, "first");
  const parse = (text: string): Secret => new Secret(text);
  const password = secretFile({ path, name: '"password"', initial: new Secret("first"), parse });
  const node = await new RedisNode(t, redisConfig(server, { username: "mirror", password })).ready();
  t.equal(await node.tags.put(app, latest, record("a", 1)), true);

  await server.call("ACL", "SETUSER", "mirror", "resetpass", ">second");
  t.strictSame(await node.tags.get(app, latest), record("a", 1), "who is in stays in");
  await server.call("CLIENT", "KILL", "USER", "mirror");
  await until("it is refused", () => node.states.at(-1) === false);
  await writeFile(`${path}.new`, "second");
  await rename(`${path}.new`, path);
  await node.ready();
  t.strictSame(await node.tags.get(app, latest), record("a", 1), "used again with the new one");
  t.notMatch(JSON.stringify(node.notices), /first|second/, "no password in what is told");
});

t.test("Sentinel: a failover", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const { master, replica, sentinels } = await startSentinels(t, "mymaster");
  const servers = {
    kind: "sentinel",
    sentinels: sentinels.map(({ port }) => ({ host: "127.0.0.1", port })),
    master: "mymaster",
    password: undefined,
  } as const;
  const redis = redisConfig(master, { servers });
  const [node, other] = [await new RedisNode(t, redis).ready(), await new RedisNode(t, redis).ready()];
  t.equal(await node.tags.put(app, latest, record("a", 1)), true);
  await until("the replica has it", async () => Number(await replica.call("DBSIZE")) > 0);
  await master.kill();
  // A server that is promoted drops its clients.
  await until("one of them has become the master", async () =>
    /role:master/.test(String(await replica.call("INFO", "replication").catch(() => ""))),
  );
  const from = performance.now();
  await Promise.all([node.ready(), other.ready()]);
  t.comment(`used again ${Math.round(performance.now() - from)} ms after the failover`);
  t.strictSame(await node.tags.get(app, latest), record("a", 1), "read from the new master");
  t.equal(await node.tags.put(app, latest, record("b", 2)), true, "and written to it");
  const heard: Announcement[] = [];
  other.announcements.subscribe(
    (announcement) => heard.push(announcement),
    () => {},
  );
  node.announcements.publish({ kind: "released", key: "a" });
  await until("the other hears it", () => heard.length === 1);
});

t.test("a user's password that is set in the configuration", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const server = await startRedis(t, { args: ["--requirepass", "secret"], client: { password: "secret" } });
  const password = fixedSecret(new Secret("secret"));
  const node = await new RedisNode(t, redisConfig(server, { password, database: 3 })).ready();
  t.equal(await node.tags.put(app, latest, record("a", 1)), true);
  t.match(await server.call("INFO", "keyspace"), /db3:keys=1/, "in the database that was asked for");
  const wrong = new RedisNode(t, redisConfig(server, { password: fixedSecret(new Secret("wrong")) }));
  await until("it says why", () => wrong.states.length > 0);
  t.match(wrong.notices[0], { usable: false, message: /WRONGPASS/ });
});
