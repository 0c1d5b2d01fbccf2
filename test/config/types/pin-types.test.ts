import t from "tap";
import { formatPinBudget, parsePinBudget, parsePinPattern } from "../../../src/config/types/pin-types.ts";
import { problemsOf, upstreamsYaml } from "../../fixtures/loading.ts";

t.test("patterns over an upstream, its repositories and their tags", async (t) => {
  for (const text of ["hub/team/**:v*", "hub/team/app:1.0", "*/**:latest", "{a,b}/x:[12].*"])
    t.same(parsePinPattern(` ${text} `), { value: text });
  for (const text of [
    "",
    "team",
    "team:1",
    "hub/team/**",
    "hub/app:",
    "/app:1",
    "hub/app:[1",
    `a/b:${"x".repeat(600)}`,
  ])
    t.match(parsePinPattern(text), { expected: /hub\/team\/\*\*:v\*|pattern/ }, text);
});

t.test("a budget is a size or a share of at most 90 %", async (t) => {
  for (const [text, value] of [
    ["20GB", { bytes: 20_000_000_000 }],
    ["0B", { bytes: 0 }],
    ["12.5%", { share: 0.125 }],
    ["90%", { share: 0.9 }],
  ] as const) {
    t.strictSame(parsePinBudget(text), { value });
    t.equal(formatPinBudget(value), text);
  }
  t.match(parsePinBudget("91%"), { expected: "a percentage from 0% to 90%" });
  t.match(parsePinBudget("20"), {
    expected: /a unit after the number: .*, or a share of cache.maxSize such as 50%/,
  });
});

t.test("problems are told with their place", async (t) => {
  const yaml = `${upstreamsYaml(
    "name: hub, url: https://a.example.com",
    "name: other, url: https://b.example.com",
  )}pin: { images: ["team/app:1.0", "hub/**:v*", "*/**:latest", "app"], budget: 100%, refresh: 1s }`;
  const problems = problemsOf({ yaml });
  t.match(
    problems.join("\n"),
    /pin\.images\[0\].*expected the name of an upstream before the first slash: hub, other/,
  );
  t.match(problems.join("\n"), /pin\.images\[3\].*expected a pattern over upstream\/repository:tag/);
  t.match(problems.join("\n"), /pin\.budget.*from 0% to 90%/);
  t.match(problems.join("\n"), /pin\.refresh.*at least 1m/);
  t.equal(problems.length, 4);
});
