import t from "tap";
import { covers, parsePermissionGlob, parseTagGlob, whyNothingMatches } from "../../src/config/glob.ts";

t.test("patterns over repository:tag", async (t) => {
  for (const glob of ["**", "**:latest", "team/*:v[0-9]*", "{a,b}/**:1.?", "!(a):*", "x"])
    t.same(parseTagGlob(` ${glob} `), { value: glob });
  for (const text of ["", " ", "a".repeat(513)])
    t.match(parseTagGlob(text), { expected: /1 to 512 characters over repository:tag/ });
});

t.test("a bracket without its partner is refused: it would quietly never match", async (t) => {
  for (const text of ["team/(a", "team/a)", "{a,b", "v[0-9", "[z-a]", "\\"]) {
    t.match(parseTagGlob(text), { expected: /every bracket closed/ }, text);
    t.match(parsePermissionGlob(text), { expected: /every bracket closed/ }, text);
  }
});

t.test("patterns over repositories may name tags after a colon; both parts are patterns", async (t) => {
  for (const glob of ["team/**", "team/**:v*", "*:{a,b}"]) t.same(parsePermissionGlob(glob), { value: glob });
  for (const text of [":latest", "team/**:", "team/{a:b}"])
    t.match(parsePermissionGlob(text), { expected: /no part empty/ }, text);
});

t.test("a pattern no name can match is found out by its characters", async (t) => {
  const nothing: Readonly<Record<string, RegExp>> = {
    "Team/app:1": /no repository has "T"/,
    "https://registry/app": /no tag has "\/"/,
    "team app": /no repository has " "/,
    "/team/**": /is empty/,
    "team//app": /is empty/,
    "team/:v1": /is empty/,
    "**:v1/x": /no tag has "\/"/,
    "a:b:c": /no tag has ":"/,
  };
  for (const [pattern, reason] of Object.entries(nothing))
    t.match(whyNothingMatches(pattern), reason, pattern);
  const something = [
    "**",
    "**:latest",
    ":latest",
    "team/*:V1.?",
    "{a,b}/c-d__e.f:{x,Y_1}",
    "x:",
    "v{1..3}/a",
  ];
  const untold = ["[A-Z]*", "!(A):1", "team/@(App|b)"];
  for (const pattern of [...something, ...untold]) t.equal(whyNothingMatches(pattern), undefined, pattern);
});

t.test("a pattern covers another when it surely matches all that the other does", async (t) => {
  for (const [first, second] of [
    ["**", "team/app:1"],
    ["**:*", "team/**:v*"],
    ["team/**:v*", "team/**:v*"],
    ["team/*:v*", "team/app:v1"],
    [":latest", "team/**:latest"],
    ["team/[ab]:*", "team/a:1"],
  ] as const)
    t.ok(covers(first, second), `${first} ${second}`);
  for (const [first, second] of [
    ["team/app:1", "**"],
    ["team/*", "team/a/b"],
    ["team/**:v*", "team/**:*"],
    ["*:v1", "team/**:v1"],
    ["team/**", "[t]eam/a"],
  ] as const)
    t.notOk(covers(first, second), `${first} ${second}`);
});
