import t from "tap";
import { parsePermissionGlob, parseTagGlob } from "../../src/config/glob.ts";

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
