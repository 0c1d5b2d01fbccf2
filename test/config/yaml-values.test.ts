import t from "tap";
import { readYamlFile } from "../../src/config/yaml-file.ts";

const read = (text: string) => readYamlFile({ path: "m.yaml", text: `upstream:\n  ${text}\n` });
const inputOf = (text: string) => [...read(text).entries.values()][0]?.input;
const lines = (text: string) =>
  read(text).problems.map(
    ({ key, position, message }) => `${key} ${position?.line}:${position?.column} ${message}`,
  );

t.test("a list, a single value that is a list of one, and an empty one", async (t) => {
  t.same(inputOf("allow: [a, 1, '']"), ["a", "1", ""]);
  t.same(inputOf("allow: a, b"), ["a, b"]);
  t.same(inputOf("allow:"), []);
  t.same(inputOf("allow: []"), []);
});

t.test("a list of something else", async (t) => {
  t.same(lines("allow: {a: b}"), ["upstream.allow 2:10 found keys with values, expected a list"]);
  t.match(lines("allow: [a, [b], ~]"), [
    /^upstream\.allow\[1\] 2:14 found a list, expected a single value/,
    /^upstream\.allow\[2\] 2:19 has no value/,
  ]);
  t.equal(inputOf("allow: [a, ~]"), undefined);
});

t.test("next is a name, or a name and when", async (t) => {
  t.same(inputOf("next: hub"), { upstream: "hub" });
  t.same(inputOf("next: {upstream: hub, on: [absent, failure]}"), {
    upstream: "hub",
    on: ["absent", "failure"],
  });
  t.same(inputOf("next: {on: absent}"), { on: ["absent"] });
  t.same(lines("next: {upsteam: hub}"), ["upstream.next.upsteam 2:10 next has only upstream and on"]);
  t.match(lines("next: [hub]"), [/^upstream\.next 2:9 found a list, expected a single value/]);
  t.match(lines("next:"), [/^upstream\.next 2:8 has no value/]);
});

t.test("rules of an upstream have their place", async (t) => {
  t.same(inputOf("tags: {rules: [{match: x, ttl: 1s}]}"), [{ match: "x", ttl: "1s" }]);
  t.same(lines("tags: {rules: [{match: x, note: y}]}"), [
    "upstream.tags.rules[0].note 2:29 a rule has only match and ttl",
  ]);
  t.match(lines("tags: {rules: x}"), [/^upstream\.tags\.rules 2:17 found a single value, expected a list/]);
});
