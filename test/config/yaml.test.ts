// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of the environment look like that
import t from "tap";
import { settings } from "../../src/config/settings.ts";
import { Sources } from "../../src/config/sources.ts";
import { readYamlFile } from "../../src/config/yaml.ts";

const read = (text: string) => {
  const sources = new Sources();
  readYamlFile({ path: "m.yaml", text }, sources);
  return sources;
};
const lines = (text: string) =>
  read(text).problems.map(
    ({ key, position, message }) => `${key} ${position?.line}:${position?.column} ${message}`,
  );
const inputs = (text: string) => settingsIn(read(text));
/** The settings there are, by key. */
const settingsIn = (sources: Sources) =>
  Object.fromEntries(
    settings.flatMap(({ key, path }) => (sources.has(path) ? [[key, sources.get(path)]] : [])),
  );

t.test("scalars are taken as they are written, whatever YAML thinks they are", async (t) => {
  const text = [
    "catalog: true",
    "listen: :5000",
    "upstream:",
    "  username: 0123",
    "  password: 1e5",
    "  maxConnections: 64",
    "cache: {evictTo: 90%, dir: '~'}",
    "log: {level: !!str info}",
  ].join("\n");
  t.same(inputs(text), {
    catalog: "true",
    listen: ":5000",
    "upstream.username": "0123",
    "upstream.password": "1e5",
    "upstream.maxConnections": "64",
    "cache.evictTo": "90%",
    "cache.dir": "~",
    "log.level": "info",
  });
  t.same(lines(text), []);
});

t.test("a file, or a section, in which everything is commented out sets nothing", async (t) => {
  for (const text of [
    "",
    "# listen: :5000\n",
    "---\n",
    "tags:\n  # ttl: 60s\n",
    "tags: {}\nupstream: ~\n",
    "tags:\n  rules: []\n",
  ]) {
    t.same(lines(text), [], JSON.stringify(text));
  }
});

t.test("an anchor can be used again", async (t) => {
  const text = "upstream:\n  connectTimeout: &wait 5s\n  idleTimeout: *wait\n";
  t.same(inputs(text), { "upstream.connectTimeout": "5s", "upstream.idleTimeout": "5s" });
});

t.test("unknown keys at any depth, with their place and a suggestion", async (t) => {
  t.same(lines("lisen: :5000\n"), ["lisen 1:1 there is no such setting; did you mean listen?"]);
  t.same(lines("upstream:\n  conectTimeout: 5s\n"), [
    "upstream.conectTimeout 2:3 there is no such setting; did you mean upstream.connectTimeout?",
  ]);
  t.same(lines("url: x\n"), ["url 1:1 there is no such setting; did you mean upstream.url?"]);
  t.same(lines("cahce: {dir: x}\n"), ["cahce 1:1 there is no such setting; did you mean cache?"]);
  t.same(lines("cache:\n  ttl: 5s\n"), ["cache.ttl 2:3 there is no such setting; did you mean tags.ttl?"]);
  t.same(lines("zzzzzz: 1\n"), ["zzzzzz 1:1 there is no such setting"]);
  t.same(lines("tags:\n  rules:\n    - {match: x, ttl: 1s, note: y}\n"), [
    "tags.rules[0].note 3:27 there is no such setting, only match, ttl",
  ]);
  t.same(lines("upstream.url: x\n"), [], "a dotted key means the same");
});

t.test("values of the wrong form", async (t) => {
  t.match(lines("- a\n"), [/^file 1:1 found a list, expected keys with values$/]);
  t.match(lines("hello\n"), [/^file 1:1 found a single value, expected keys with values$/]);
  t.match(lines("cache: 50GB\n"), [/^cache 1:8 found a single value, expected keys with values$/]);
  t.match(lines("listen: [a]\n"), [/^listen 1:9 found a list, expected a single value/]);
  t.match(lines("upstream:\n  password: {a: b}\n"), [
    /^upstream.password 2:13 found keys with values, expected/,
  ]);
  t.match(lines("listen:\n"), [/^listen 1:8 has no value/]);
  t.match(lines("upstream:\n  password: #hunter2\n"), [/^upstream.password 2:13 has no value/]);
  t.match(lines("tags:\n  rules: x\n"), [/^tags.rules 2:10 found a single value, expected a list/]);
  t.match(lines("? [a]\n: b\n"), [/^file 1:3 an unknown key/]);
});

t.test("broken YAML is reported with its place and without its text", async (t) => {
  for (const [text, at, says] of [
    ["upstream:\n  password: *hunter2\n", "2:13", /has no value|that no & has given/],
    ["upstream:\n  password: @hunter2\n", "2:13", /in quotes/],
    ["upstream:\n  password: !hunter2\n", "2:13", /begins with !/],
    ["upstream:\n  password: >hunter2\n", "2:14", /in quotes/],
    ["upstream:\n  password: hunter2: x\n", "2:13", /second colon/],
    ['upstream:\n  password: "hunter2\n', "3:1", /a quote/],
    ["upstream:\n  password:hunter2\n", "2:3", /found a single value/],
    ["upstream: {password:hunter2}\n", "1:12", /an unknown key \(not shown/],
    ["a: 1\n---\nb: 2\n", "2:1", /second document/],
    ["cache:\n\tdir: x\n", "2:1", /spaces/],
    ["listen: [::1]:5000\n", "1:14", /in quotes/],
  ] as const) {
    const [first = "", ...others] = lines(text);
    t.match(first, says, JSON.stringify(text));
    t.ok(first.includes(` ${at} `), `${first} is at ${at}`);
    t.notMatch([first, ...others].join("\n"), /hunter2/);
  }
});

t.test("an unknown key beside the password is not shown: it may be the rest of it", async (t) => {
  t.same(lines("upstream: {password: ,hunter2}\n"), [
    "upstream.password 1:22 has no value; give one (one that begins with #, & or * needs quotes), or leave the key out",
    "upstream 1:23 an unknown key (not shown: it may be part of a password that needs quotes)",
  ]);
});

t.test("a key given twice is a problem, and the file is still read to its end", async (t) => {
  const found = read("listen: :1\nlisten: :2\nlisten2: x\n");
  t.equal(found.broken, false);
  t.match(found.problems, [{ message: /stands here twice/ }, { key: "listen2" }]);
});

t.test("a file longer than 1 MiB is not read", async (t) => {
  const found = read(`# ${"x".repeat(1024 * 1024)}`);
  t.equal(found.broken, true);
  t.match(found.problems, [{ key: "m.yaml", message: /1 MiB/ }]);
});

t.test("each item of the list has the keys of an upstream, in its own place", async (t) => {
  const sources = read("upstreams:\n  - name: a\n    tls: {ca: /ca}\n  - tags.ttl: 5s\n");
  t.same(sources.root, { upstreams: [{ name: "a", tls: { ca: "/ca" } }, { tags: { ttl: "5s" } }] });
  t.equal(sources.origin(["upstreams", 0, "tls", "ca"]), "m.yaml:3:15");
  t.equal(sources.origin(["upstreams", 1, "tags", "ttl"]), "m.yaml:4:15");
});

t.test("no list, or nothing in it", async (t) => {
  for (const text of ["", "upstreams:\n", "upstreams: []\n", "upstreams: ~\n"]) {
    t.same(read(text).get(["upstreams"]) ?? [], [], JSON.stringify(text));
    t.same(lines(text), []);
  }
});

t.test("an anchor can be used in another upstream", async (t) => {
  const text = "upstreams:\n  - tls: &tls {ca: /ca}\n    allow: &some [a]\n  - {tls: *tls, allow: *some}\n";
  t.same(read(text).get(["upstreams", 1]), { tls: { ca: "/ca" }, allow: ["a"] });
});

t.test("items of the wrong form", async (t) => {
  t.same(lines("upstreams: {a: {}}\n"), [
    "upstreams 1:12 found keys with values, expected a list of upstreams",
  ]);
  t.same(lines("upstreams:\n  - a\n  - [b]\n  -\n"), [
    "upstreams[0] 2:5 found a single value, expected keys with values",
    "upstreams[1] 3:5 found a list, expected keys with values",
    "upstreams[2] 4:4 has no value, expected keys with values",
  ]);
});

t.test("unknown keys of an upstream, in its own words", async (t) => {
  t.same(lines("upstreams:\n  - {nmae: x}\n"), [
    "upstreams[0].nmae 2:6 there is no such setting; did you mean upstreams[0].name?",
  ]);
  t.same(lines("upstreams:\n  - tls: {sreverName: x}\n"), [
    "upstreams[0].tls.sreverName 2:11 there is no such setting; did you mean upstreams[0].tls.serverName?",
  ]);
  t.same(lines("upstreams:\n  - {ca: x}\n"), [
    "upstreams[0].ca 2:6 there is no such setting; did you mean upstreams[0].tls.ca?",
  ]);
  t.same(lines("upstreams:\n  - {maxSize: 1GB}\n"), [
    "upstreams[0].maxSize 2:6 there is no such setting; did you mean cache.maxSize?",
  ]);
  t.same(lines("upstream: {tls: {sreverName: x}}\n"), [
    "upstream.tls.sreverName 1:18 there is no such setting; did you mean upstream.tls.serverName?",
  ]);
  t.same(lines("upstrems: []\n"), ["upstrems 1:1 there is no such setting; did you mean upstreams?"]);
  t.same(lines("upstreams: [{password: ,hunter2}]\n").slice(1), [
    "upstreams[0] 1:25 an unknown key (not shown: it may be part of a password that needs quotes)",
  ]);
});

t.test("a typo in an item of a list has its place and a suggestion", async (t) => {
  t.same(lines("tags:\n  rules: [{mach: x, ttl: 1s}]\n"), [
    "tags.rules[0].mach 2:12 there is no such setting; did you mean tags.rules[0].match?",
  ]);
  t.same(lines("notifications: {endpoints: [{nmae: a, ignore: {action: [pull]}}]}\n"), [
    "notifications.endpoints[0].nmae 1:30 there is no such setting; did you mean notifications.endpoints[0].name?",
    "notifications.endpoints[0].ignore.action 1:48 there is no such setting; did you mean notifications.endpoints[0].ignore.actions?",
  ]);
  t.same(lines("upstreams: [{tags: {rules: [{mach: x}, {qqqq: x}]}}]\n"), [
    "upstreams[0].tags.rules[0].mach 1:30 there is no such setting; did you mean upstreams[0].tags.rules[0].match?",
    "upstreams[0].tags.rules[1].qqqq 1:41 there is no such setting, only match, ttl",
  ]);
});

t.test("variables of the environment in values", async (t) => {
  const env = { HOST: "registry.example.com", EMPTY: "", SECRET: "hunter2" };
  const withEnv = (text: string) => {
    const sources = new Sources();
    readYamlFile({ path: "m.yaml", text }, sources, env);
    return sources;
  };
  const urlOf = (text: string) => withEnv(`upstream: {url: "${text}"}\n`).get(["upstream", "url"]);
  t.equal(urlOf("https://${HOST}/a"), "https://registry.example.com/a");
  t.equal(urlOf("https://${HOST:-b}${PORT:-:5000}"), "https://registry.example.com:5000");
  t.equal(urlOf("${EMPTY:-b}${PORT:-}"), "b", "an empty variable counts as not set");
  t.equal(urlOf("a$$b$${HOST}$"), "a$b${HOST}$", "$$ is one $");
  t.equal(urlOf("$HOST ${1}"), "$HOST ${1}", "anything else stays as it is");
  t.match(withEnv("listen: ${PORT}\n").problems, [
    {
      key: "listen",
      position: { line: 1, column: 9 },
      message: /^names the variable PORT, which is not in the/,
    },
  ]);
  t.match(withEnv("upstream: {allow: [a, '${NONE}']}\n").problems, [{ key: "upstream.allow[1]" }]);
});
