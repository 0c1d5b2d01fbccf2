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
