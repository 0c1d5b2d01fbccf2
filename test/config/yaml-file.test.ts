import t from "tap";
import { readYamlFile } from "../../src/config/yaml-file.ts";

const read = (text: string) => readYamlFile({ path: "m.yaml", text });
const lines = (text: string) =>
  read(text).problems.map(
    ({ key, position, message }) => `${key} ${position?.line}:${position?.column} ${message}`,
  );
const inputs = (text: string) =>
  Object.fromEntries([...read(text).entries].map(([key, { input }]) => [key, input]));

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
    "tags.rules[0].note 3:27 a rule has only match and ttl",
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
