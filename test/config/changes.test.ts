import { readFileSync } from "node:fs";
import t from "tap";
import { applicable, changesBetween, onlyAtStart } from "../../src/config/changes.ts";
import { settings } from "../../src/config/settings.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { type Given, loadedFrom, upstreamsYaml, upstreamUrl } from "../fixtures/loading.ts";

/** The texts of what has changed from one configuration to another, for a program started with the first. */
function changed(before: Given, after: Given) {
  const [running, next] = [loadedFrom(before), loadedFrom(after)];
  const { applied, needRestart } = changesBetween(running, running, next);
  return { applied: applied.map(({ text }) => text), needRestart: needRestart.map(({ text }) => text) };
}

const one = (rest: string): Given => ({ yaml: `upstream: {url: https://registry.example.com}\n${rest}` });
const hub = "name: hub, url: https://hub.example.com";
const far = "name: far, url: https://far.example.com";

t.test("nothing has changed", async (t) => {
  const given = one("tags: {ttl: 5m, rules: [{match: '**:latest', ttl: 0s}]}\nlog: {level: warn}");
  t.same(changed(given, given), { applied: [], needRestart: [] });
  t.same(changed({ env: upstreamUrl }, one("")), { applied: [], needRestart: [] }, "wherever it is written");
});

t.test("a value is told as it was and as it is, in the words of the file", async (t) => {
  const rules = "tags: {rules: [{match: '**:latest', ttl: forever}]}";
  const after = one(
    `tags: {ttl: 90s}\ncache: {maxSize: 20GiB}\nlimits: {exempt: [10.0.0.0/8]}\ncatalog: false`,
  );
  t.same(
    changed(one(rules), after).applied.sort(),
    [
      "cache.maxSize: 50GB -> 20GiB",
      "catalog: true -> false",
      'limits.exempt: not set -> ["10.0.0.0/8"]',
      "tags.ttl: 1m -> 90s",
      'tags.rules: [{"match":"**:latest","ttl":"forever"}] -> not set',
    ].sort(),
  );
});

t.test("a secret is told to have changed, and nothing of it", async (t) => {
  const login = (name: string, password: string): Given => ({
    yaml: `upstream: {url: https://registry.example.com, username: ${name}, password: ${password}}
webhooks: {secret: ${password}-webhook-secret}
notifications: {endpoints: [{name: a, url: "https://a.example.com/?key=${password}", headers: {X-Key: ${password}}}]}
`,
  });
  const { applied, needRestart } = changed(login("mirror", "hunter2"), login("other", "swordfish"));
  t.same(applied, ["webhooks.secret: changed", "upstream.username: changed", "upstream.password: changed"]);
  t.equal(needRestart.length, 1);
  t.match(needRestart[0], /^notifications\.endpoints: /);
  t.notMatch([...applied, ...needRestart].join(), /hunter2|swordfish|mirror|other/);
  const without = changed(login("mirror", "hunter2"), one(""));
  t.ok(without.applied.includes("upstream.password: removed"));
  t.ok(changed(one(""), login("mirror", "hunter2")).applied.includes("upstream.password: set"));
});

t.test("the content of a file with a secret", async (t) => {
  const yaml = `upstream: {url: https://registry.example.com, username: mirror, passwordFile: /p}
redis: {url: "redis://redis.example.com", passwordFile: /r}
`;
  const before = { yaml, files: { "/p": "hunter2", "/r": "hunter3" } };
  t.same(changed(before, before), { applied: [], needRestart: [] });
  t.same(changed(before, { yaml, files: { "/p": "swordfish", "/r": "hunter4" } }), {
    applied: [
      "redis.passwordFile: the file's content has changed",
      "upstream.passwordFile: the file's content has changed",
    ],
    needRestart: [],
  });
});

t.test("the content of a file with a certificate", { skip: withoutOpenssl() }, async (t) => {
  const yaml = `upstream: {url: https://registry.example.com, tls: {ca: /ca.pem}}
redis: {url: "rediss://redis.example.com", tls: {ca: /ca.pem}}
`;
  const [a, b] = [new Authority(t.testdir(), "a"), new Authority(t.testdirName, "b")];
  const before = { yaml, files: { "/ca.pem": a.cert } };
  t.same(changed(before, { yaml, files: { "/ca.pem": b.cert } }), {
    applied: ["upstream.tls.ca: the file's content has changed"],
    needRestart: ["redis.tls.ca: the file's content has changed"],
  });
});

t.test("upstreams by name: added, removed, moved and changed", async (t) => {
  const before = { yaml: upstreamsYaml(hub, `${far}, deny: [secret/**]`) };
  const after = {
    yaml: upstreamsYaml(`${far}, deny: [hidden/**]`, "name: new, url: https://new.example.com"),
  };
  t.same(changed(before, after).applied, [
    "upstreams[hub]: removed",
    'upstreams[far].deny: ["secret/**"] -> ["hidden/**"]',
    "upstreams[new]: added, https://new.example.com/",
  ]);
  const moved = changed({ yaml: upstreamsYaml(hub, far) }, { yaml: upstreamsYaml(far, hub) });
  t.same(moved.applied, ["upstreams: the order hub, far -> far, hub"]);
  const single = { yaml: `upstream: {${hub}}` };
  t.same(changed(single, { yaml: upstreamsYaml(hub) }).applied, [], "another way to write the same");
  const running = loadedFrom(single);
  const { applied } = changesBetween(
    running,
    running,
    loadedFrom({ yaml: `upstream: {${hub}, segments: 2}` }),
  );
  t.match(applied, [{ upstream: { name: "hub", key: "segments" } }]);
});

t.test(
  "what is only read at the start is named, and stays what it was",
  { skip: withoutOpenssl() },
  async (t) => {
    const before = one("tags: {ttl: 60s}");
    const { cert, key } = new Authority(t.testdir(), "authority").issue("own", "DNS:localhost");
    const files = { "/crt": cert, "/key": key };
    const after = {
      ...one(`tags: {ttl: 5m}
listenTls: {certFile: /crt, keyFile: /key}
opsTls: {certFile: /crt, keyFile: /key}
listen: 127.0.0.1:6000
workers: 3
opsListen: 127.0.0.1:6001
node: {name: other, address: "http://10.0.0.7:5000", secret: ${"s".repeat(32)}}
nodes: ["http://10.0.0.8:5000"]
siblings: [{name: dc2, url: "https://mirror.example.com"}]
log: {level: debug, format: combined}
influx: {dir: /var/points, maxFileSize: 2MB, keep: 9}
otel: {endpoint: "http://collector.example.com:4318"}
cache: {dir: /var/cache, smallBlob: 2MB, maxSize: 9GB}
proofs: shared
redis: {url: "redis://redis.example.com"}
s3: {bucket: blobs}
notifications: {endpoints: [{name: a, url: "https://a.example.com/"}]}
`),
      files,
    };
    const [running, next] = [loadedFrom(before), loadedFrom(after)];
    const { applied, needRestart } = changesBetween(running, running, next);
    t.same(applied.map(({ key }) => key).sort(), ["cache.maxSize", "log.level", "tags.ttl"]);
    t.ok(needRestart.some(({ text }) => text === "listen: 0.0.0.0:5000 -> 127.0.0.1:6000"));
    for (const each of onlyAtStart)
      t.ok(
        needRestart.some(({ key }) => key === each || key.startsWith(`${each}.`)),
        each,
      );
    const config = applicable(running.config, next.config);
    t.same(config, {
      ...running.config,
      tags: next.config.tags,
      log: { level: "debug", format: "auto" },
      cache: { ...running.config.cache, maxSize: 9e9 },
    });
  },
);

t.test("every key of what is only read at the start is one of the schema", async (t) => {
  for (const each of onlyAtStart)
    t.ok(
      settings.some(({ key }) => key === each || key.startsWith(`${each}.`)),
      each,
    );
});

t.test("the manual names all that is only read at the start, and nothing else", async (t) => {
  const manual = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
  const [, list = ""] = /`needs a restart`: ([^.]*(?:\.\w[^.]*)*)\.\s/.exec(manual) ?? [];
  t.same([...list.matchAll(/`([^`]+)`/g)].map(([, key]) => key).sort(), [...onlyAtStart].sort());
});

t.test("a setting set back to what the program was started with needs no restart", async (t) => {
  const [started, other] = [loadedFrom(one("")), loadedFrom(one("listen: :6000\ntags: {ttl: 5m}"))];
  t.same(changesBetween(started, other, started).needRestart, []);
  t.equal(changesBetween(started, other, other).needRestart.length, 1, "told at every reload until then");
  t.same(changesBetween(started, other, other).applied, []);
});

t.test("a long value is cut", async (t) => {
  const allow = Array.from({ length: 99 }, (_, i) => `team-${i}/**`);
  const after = { yaml: `upstream: {url: https://registry.example.com, allow: ${JSON.stringify(allow)}}` };
  const [text = ""] = changed(one(""), after).applied;
  t.match(text, /^upstream\.allow: not set -> \["team-0\/\*\*",.*\.\.\.$/);
  t.ok(text.length < 250);
});
