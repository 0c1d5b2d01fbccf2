import t from "tap";
import { configOf, problemsOf } from "../fixtures/loading.ts";

const withRules = (rules: string) => ({
  yaml: `upstream: {url: "https://registry.example.com"}\nlimits: {rules: ${rules}}`,
});

t.test("a rule has limits of its own, each caller for itself unless said", async (t) => {
  const { limits } = configOf(withRules("[{networks: 10.0.0.0/8, bytesPerSecond: 20MB}]"));
  t.same(limits?.rules, [
    {
      users: [],
      groups: [],
      anonymous: false,
      networks: ["10.0.0.0/8"],
      bytesPerSecond: 20_000_000,
      shared: false,
    },
  ]);
});

t.test("a rule that limits nothing, and names that nobody is asked for, are problems", async (t) => {
  const problems = problemsOf(
    withRules("[{networks: 10.0.0.0/8}, {users: [ci], coldFills: 1}, {groups: [ci], coldFills: 1}]"),
  );
  const named = (text: string) => problems.filter((problem) => JSON.stringify(problem).includes(text)).length;
  t.equal(problems.length, 3);
  t.equal(named("limits nothing"), 1);
  t.equal(named("found names that nobody is asked for"), 2);
});

t.test("names that this mirror does not know with passthrough, for all or for one upstream", async (t) => {
  const rules = "limits: {rules: [{users: [ci], coldFills: 1}, {groups: [ci], coldFills: 1}]}\n";
  const registry = 'upstream: {url: "https://registry.example.com"';
  for (const yaml of [`${registry}}\naccess: {mode: passthrough}\n`, `${registry}, access: passthrough}\n`]) {
    t.match(problemsOf({ yaml: yaml + rules }), [
      /^limits\.rules\[0\]\.users .*the registry knows and this mirror does not, expected networks$/,
      /^limits\.rules\[1\]\.groups .*expected networks$/,
    ]);
    t.same(problemsOf({ yaml: `${yaml}limits: {rules: [{networks: 10.0.0.0/8, coldFills: 1}]}\n` }), []);
  }
});

t.test("groups where nobody is in one", async (t) => {
  const files = { "/users": `ci:$2y$05$${"a".repeat(53)}\n` };
  const of = (access: string, rule: string) =>
    problemsOf({
      yaml: `upstream: {url: "https://registry.example.com"}\naccess: {${access}}\nlimits: {rules: [{${rule}, coldFills: 1}]}\n`,
      files,
    });
  const htpasswd = "mode: htpasswd, htpasswdFile: /users";
  t.match(of(htpasswd, "groups: [dev]"), [/^limits\.rules\[0\]\.groups .*nobody is in one/]);
  t.same(of(htpasswd, "users: [ci]"), []);
  const oidc = "mode: token, oidc: [{issuer: https://i.example.com, audience: a}]";
  t.same(of(oidc, 'groups: ["oidc:namespace=ci"]'), []);
});
