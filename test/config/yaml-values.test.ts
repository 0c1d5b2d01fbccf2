import t from "tap";
import { settings } from "../../src/config/settings.ts";
import { Sources } from "../../src/config/sources.ts";
import { readYamlFile } from "../../src/config/yaml.ts";

const read = (text: string) => {
  const sources = new Sources();
  readYamlFile({ path: "m.yaml", text: `upstream:\n  ${text}\n` }, sources);
  return sources;
};
/** The one setting there is. */
const inputOf = (text: string) => {
  const sources = read(text);
  const setting = settings.find(({ path }) => sources.has(path));
  return setting && sources.get(setting.path);
};
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
  t.same(lines("next: {upsteam: hub}"), [
    "upstream.next.upsteam 2:10 there is no such setting; did you mean upstream.next.upstream?",
  ]);
  t.match(lines("next: [hub]"), [/^upstream\.next 2:9 found a list, expected a single value/]);
  t.match(lines("next:"), [/^upstream\.next 2:8 has no value/]);
});

t.test("rules of an upstream have their place", async (t) => {
  t.same(inputOf("tags: {rules: [{match: x, ttl: 1s}]}"), [{ match: "x", ttl: "1s" }]);
  t.same(lines("tags: {rules: [{match: x, note: y}]}"), [
    "upstream.tags.rules[0].note 2:29 there is no such setting, only match, ttl",
  ]);
  t.match(lines("tags: {rules: x}"), [/^upstream\.tags\.rules 2:17 found a single value, expected a list/]);
});
