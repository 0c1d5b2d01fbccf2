import t from "tap";
import type { RedisConfig } from "../../src/config/config.ts";
import { renderConfig } from "../../src/config/print.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { configOf, type Given, loadedFrom, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const upstream = "upstream: {url: https://registry.example.com}\n";

/** What `redis:` comes to with the given inside of braces. */
function redisOf(inside: string, files: Given["files"] = {}): RedisConfig | undefined {
  return configOf({ yaml: `${upstream}redis: {${inside}}\n`, files }).redis;
}

function wrong(inside: string, files: Given["files"] = {}): string {
  return problemsOf({ yaml: `${upstream}redis: {${inside}}\n`, files }).join("\n");
}

t.test("without the section there is no Redis", async (t) => {
  t.equal(configOf({ env: upstreamUrl }).redis, undefined);
});

t.test("one server, with the defaults", async (t) => {
  t.strictSame(redisOf("url: redis://redis.example.com"), {
    servers: { kind: "standalone", host: "redis.example.com", port: 6379 },
    username: undefined,
    password: undefined,
    database: 0,
    prefix: "entrepot:",
    tls: undefined,
  });
  t.match(redisOf('url: "redis://[::1]:6380/", db: 3, prefix: "site-a:"'), {
    servers: { host: "::1", port: 6380 },
    database: 3,
    prefix: "site-a:",
  });
});

t.test("Sentinels, and a Cluster", async (t) => {
  t.match(
    redisOf("sentinels: [s1.example.com:26379, 10.0.0.2:26379], master: mymaster, sentinelPassword: x"),
    {
      servers: {
        kind: "sentinel",
        sentinels: [
          { host: "s1.example.com", port: 26379 },
          { host: "10.0.0.2", port: 26379 },
        ],
        master: "mymaster",
      },
    },
  );
  const env = { ...upstreamUrl, ENTREPOT_REDIS_CLUSTER: "c1.example.com:7000, c2.example.com:7001" };
  t.match(configOf({ env }).redis?.servers, { kind: "cluster", nodes: [{ port: 7000 }, { port: 7001 }] });
});

t.test("a password: from the environment, or from a file", async (t) => {
  const env = {
    ...upstreamUrl,
    ENTREPOT_REDIS_URL: "redis://r.example.com",
    ENTREPOT_REDIS_PASSWORD: "hunter2",
  };
  t.equal((await configOf({ env }).redis?.password?.read())?.reveal(), "hunter2");
  const redis = redisOf("url: redis://r.example.com, username: mirror, passwordFile: /pw", {
    "/pw": "hunter2\n",
  });
  t.equal(redis?.username, "mirror");
  t.type(redis?.password?.read, "function");
});

t.test("a URL is a scheme, a host and a port", async (t) => {
  const secret = "url: redis://:hunter2@redis.example.com:6379";
  t.match(wrong(secret), /expected no credentials in the URL: .*redis\.passwordFile/);
  t.notMatch(wrong(secret), /hunter2/);
  t.match(
    wrong("url: redis://redis.example.com/2"),
    /expected no database in the URL: it belongs in redis\.db/,
  );
  for (const url of [
    "redis.example.com:6379",
    "http://redis.example.com",
    "redis://",
    "redis://r?db=1",
    "redis://r:0",
  ])
    t.match(wrong(`url: "${url}"`), /redis\.url .*expected/, url);
});

t.test("one way to find it, and only one", async (t) => {
  t.match(
    wrong("db: 1"),
    /redis\.db .*found this without a server, expected redis\.url, redis\.sentinels or/,
  );
  t.match(
    wrong("url: redis://r.example.com, cluster: [c.example.com:7000]"),
    /redis\.cluster .*found both this and redis\.url, expected one way to find Redis/,
  );
  t.match(wrong("sentinels: [s.example.com:26379]"), /expected redis\.master as well/);
  t.match(
    wrong("url: redis://r.example.com, master: m"),
    /redis\.master .*expected redis\.sentinels as well/,
  );
  t.match(wrong("sentinels: [], master: m"), /expected at least one host:port/);
  t.match(wrong("sentinels: [s.example.com], master: m"), /redis\.sentinels\[0\].*expected host:port/);
  t.match(wrong("cluster: [c.example.com:7000], db: 1"), /expected 0: a Cluster has no other/);
});

t.test("secrets that contradict each other, or are not there", async (t) => {
  const server = "url: redis://r.example.com";
  t.match(
    wrong(`${server}, password: a, passwordFile: /pw`, { "/pw": "b" }),
    /redis\.passwordFile .*found both this and redis\.password/,
  );
  t.match(wrong(`${server}, username: mirror`), /expected redis\.password or redis\.passwordFile as well/);
  t.match(wrong(`${server}, passwordFile: /gone`), /which cannot be read \(no such file\)/);
  t.notMatch(wrong(`${server}, {password: ,hunter2}`), /hunter2/);
  t.match(wrong(`${server}, prefix: "a{b}"`), /expected 1 to 64 characters without spaces and braces/);
});

t.test("TLS: by the scheme, by a switch or by its files", { skip: withoutOpenssl() }, async (t) => {
  const { cert } = new Authority(t.testdir(), "authority");
  const files = { "/ca.pem": cert };
  t.ok(redisOf("url: rediss://r.example.com")?.tls);
  t.ok(redisOf("sentinels: [s.example.com:26379], master: m, tls: {enabled: true}")?.tls);
  t.equal(redisOf("url: redis://r.example.com, tls: {ca: /ca.pem}", files)?.tls?.ca, cert);
  t.equal(redisOf("url: redis://r.example.com, tls: {enabled: false}")?.tls, undefined);
  t.match(
    wrong("url: rediss://r.example.com, tls: {enabled: false}"),
    /redis\.url .*expected either TLS or none/,
  );
  t.match(wrong("url: rediss://r.example.com, tls: {ca: /gone}"), /redis\.tls\.ca .*which cannot be read/);
  t.match(
    wrong("url: rediss://r.example.com, tls: {cert: /ca.pem}", files),
    /expected redis\.tls\.key as well/,
  );
});

t.test("the node's own name and address", async (t) => {
  const node = (name: string, address: string) =>
    configOf({ env: { ...upstreamUrl, ENTREPOT_NODE_NAME: name, ENTREPOT_NODE_ADDRESS: address } }).node;
  t.strictSame(node("mirror-1", "http://10.0.0.7:5000/"), {
    name: "mirror-1",
    address: "http://10.0.0.7:5000",
    secret: undefined,
  });
  t.equal(node("a", "https://mirror.example.com").address, "https://mirror.example.com");
  for (const address of [
    "10.0.0.7:5000",
    "http://0.0.0.0:5000",
    "http://u:p@a.example.com",
    "http://a.example.com/v2",
    "ftp://a",
  ])
    t.match(
      problemsOf({ env: { ...upstreamUrl, ENTREPOT_NODE_ADDRESS: address } }),
      [/ENTREPOT_NODE_ADDRESS.*expected http:\/\/host:port/],
      address,
    );
});

t.test("what check prints can be given back, and holds no secret", async (t) => {
  const files = { "/pw": "hunter2" };
  for (const inside of [
    "url: redis://r.example.com:6380, passwordFile: /pw, db: 2",
    "url: rediss://r.example.com, prefix: 'a:'",
    "sentinels: [s.example.com:26379], master: m, sentinelPasswordFile: /pw, tls: {serverName: r.example.com}",
    "cluster: [c.example.com:7000]",
  ]) {
    const given = loadedFrom({ yaml: `${upstream}redis: {${inside}}\n`, files });
    const printed = renderConfig(given);
    t.strictSame(
      JSON.stringify(configOf({ yaml: printed, files }).redis),
      JSON.stringify(given.config.redis),
      printed,
    );
  }
  const env = {
    ...upstreamUrl,
    ENTREPOT_REDIS_URL: "redis://r.example.com",
    ENTREPOT_REDIS_PASSWORD: "hunter2",
  };
  const loaded = loadedFrom({ env });
  const text = renderConfig(loaded);
  t.match(text, /redis:.*\n(?:.*\n)*.*password: not shown, from ENTREPOT_REDIS_PASSWORD/);
  t.notMatch(text, /hunter2/);
  const without = loadedFrom({ env: upstreamUrl });
  t.notMatch(renderConfig(without), /redis/, "nothing of it without a server");
});
