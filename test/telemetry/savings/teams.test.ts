import t from "tap";
import { Teams } from "../../../src/telemetry/savings/teams.ts";

const team = (name: string, repositories: string[] = [], callers: string[] = []) => ({
  name,
  repositories,
  callers,
});

t.test("the first that takes both counts; what none takes is other", (t) => {
  const teams = new Teams([
    team("payments", ["payments/**", "legacy"]),
    team("builds", [], ["ci-*", "oidc:github/**"]),
    team("search", ["search/*"], ["ann"]),
  ]);
  t.strictSame(teams.names, ["payments", "builds", "search", "other"]);
  for (const [repository, user, expected] of [
    ["payments/a/b", undefined, "payments"],
    ["payments/a/b", "ci-1", "payments"],
    ["legacy", "ann", "payments"],
    ["search/a", "ci-1", "builds"],
    ["search/a", "oidc:github/team/app", "builds"],
    ["search/a", "ann", "search"],
    ["search/a", "bob", "other"],
    ["search/a", undefined, "other"],
    ["search/a/b", "ann", "other"],
    [undefined, "ci-1", "other"],
  ] as const) {
    t.equal(teams.of(repository, user), expected, `${repository} ${user}`);
    t.equal(teams.of(repository, user), expected, "and again, as remembered");
  }
  t.end();
});

t.test("a team without patterns takes every repository", (t) => {
  const teams = new Teams([team("all")]);
  t.equal(teams.of("a", undefined), "all");
  t.equal(teams.of(undefined, undefined), "other");
  t.equal(new Teams([]).of("a", "b"), "other");
  t.end();
});
