import t from "tap";
import { AccessRules, covers, type Verb, verbs } from "../../src/gate/access-rules.ts";
import type { Caller } from "../../src/gate/caller.ts";
import { rule } from "../fixtures/access.ts";
import { repo } from "../fixtures/memory-upstream.ts";

const alice: Caller = { name: "alice", groups: ["builders"], address: "10.1.2.3" };
const bob: Caller = { name: "bob", groups: [], address: "2001:db8::7" };
const anyone: Caller = { name: undefined, groups: [], address: "10.1.2.3" };

function may(rules: AccessRules, caller: Caller, verb: Verb, repository: string, tag?: string): boolean {
  return covers(rules.right(caller, verb, "far", repo(repository)), tag);
}

t.test("without rules a name pulls and lists, and nothing else does anything", async (t) => {
  const rules = new AccessRules([]);
  for (const verb of verbs) {
    t.equal(may(rules, alice, verb, "team/app"), verb === "pull" || verb === "list", verb);
    t.equal(rules.hasAny(alice, verb, "far"), verb === "pull" || verb === "list", verb);
    t.equal(may(rules, anyone, verb, "team/app"), false, verb);
    t.equal(rules.hasAny(anyone, verb, "far"), false, verb);
  }
});

t.test("with rules only what one of them grants is allowed", async (t) => {
  const rules = new AccessRules([rule({ users: ["alice"], repositories: ["team/**"], verbs: ["push"] })]);
  t.ok(may(rules, alice, "push", "team/app"));
  for (const verb of ["pull", "list", "delete"] as const) t.notOk(may(rules, alice, verb, "team/app"), verb);
  t.notOk(may(rules, alice, "push", "team-b/app"), "a name that begins alike");
  t.notOk(may(rules, alice, "push", "a/team/app"));
  t.notOk(may(rules, bob, "push", "team/app"));
  for (const name of ["alic", "alice2", "Alice", "ALICE", "alice ", "al*"])
    t.notOk(may(rules, { ...alice, name }, "push", "team/app"), `${name} is another user`);
  t.ok(rules.hasAny(alice, "push", "far"));
  t.notOk(rules.hasAny(alice, "pull", "far"));
});

t.test("a rule is for networks, upstreams, and for those without a name only where it says so", async (t) => {
  const rules = new AccessRules([
    rule({ networks: ["10.0.0.0/8"], repositories: ["lan/**"] }),
    rule({ anonymous: true, repositories: ["public/**"], upstreams: ["far"] }),
    rule({ networks: ["2001:db8::/32", "unix:"], repositories: ["six/**"] }),
  ]);
  t.ok(may(rules, alice, "pull", "lan/app"));
  t.notOk(may(rules, bob, "pull", "lan/app"));
  t.notOk(may(rules, anyone, "pull", "lan/app"), "a network is no name");
  t.ok(may(rules, anyone, "pull", "public/app"));
  t.ok(may(rules, bob, "pull", "public/app"));
  t.equal(rules.right(bob, "pull", "hub", repo("public/app")), "none");
  t.ok(may(rules, bob, "pull", "six/app"));
  t.ok(may(rules, { ...bob, name: "eve", address: "unix:" }, "pull", "six/app"));
  t.notOk(may(rules, { ...bob, name: "eve", address: "" }, "pull", "six/app"), "nobody knows the address");
});

t.test("rules over tags add up, and one without tags covers all", async (t) => {
  const some = [
    rule({ users: ["alice"], tags: ["v*"] }),
    rule({ users: ["alice"], tags: ["latest"], repositories: ["team/**"] }),
  ];
  const rules = new AccessRules(some);
  t.ok(may(rules, alice, "pull", "team/app", "v1"));
  t.ok(may(rules, alice, "pull", "team/app", "latest"));
  t.notOk(may(rules, alice, "pull", "other/app", "latest"));
  t.notOk(may(rules, alice, "pull", "team/app", "nightly"));
  t.ok(may(rules, alice, "pull", "team/app"), "by digest");
  t.type(rules.right(alice, "pull", "far", repo("team/app")), "function");
  t.equal(new AccessRules([...some, rule({})]).right(alice, "pull", "far", repo("team/app")), "all");
});

t.test("a rule for users and groups is for whoever is one of them or in one of them", async (t) => {
  const rules = new AccessRules([rule({ users: ["bob"], groups: ["builders"] })]);
  t.ok(may(rules, alice, "pull", "team/app"), "in a group");
  t.ok(may(rules, bob, "pull", "team/app"), "named");
  t.notOk(may(rules, { ...alice, groups: [] }, "pull", "team/app"));
  t.notOk(may(rules, { ...alice, name: "builders", groups: [] }, "pull", "team/app"), "a user is no group");
  t.notOk(
    may(rules, { ...alice, groups: ["bob", "builder", "Builders"] }, "pull", "team/app"),
    "nor a group a user",
  );
  t.notOk(may(rules, { ...anyone, groups: ["builders"] }, "pull", "team/app"), "nobody is in no group");
});
