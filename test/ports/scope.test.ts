import t from "tap";
import { deleteIn, isSameScope, keyIn, type Scope } from "../../src/ports/scope.ts";
import { repo } from "../fixtures/memory-upstream.ts";

function scopeOf(upstream: string, repository: string): Scope {
  return { upstream, repository: repo(repository) };
}

t.test("nothing that is asked for makes the key of another scope", async (t) => {
  t.not(keyIn(scopeOf("a", "b"), "c d"), keyIn(scopeOf("a", "b/c"), "d"));
  t.not(keyIn(scopeOf("a", "b"), "c"), keyIn(scopeOf("a-b", "c"), ""));
  t.not(keyIn(scopeOf("a", "b"), ""), keyIn(scopeOf("a", "b"), " "));
});

t.test("entries of a scope go, and no others", async (t) => {
  const others = [
    keyIn(scopeOf("hub", "team/app2"), "1.0"),
    keyIn(scopeOf("hub", "team"), "app 1.0"),
    keyIn(scopeOf("hub2", "team/app"), "1.0"),
  ];
  const app = scopeOf("hub", "team/app");
  const map = new Map([keyIn(app), keyIn(app, "1.0"), ...others].map((key) => [key, true]));
  deleteIn(map, app);
  t.same([...map.keys()], others);
});

t.test("scopes are the same by upstream and repository", async (t) => {
  t.ok(isSameScope(scopeOf("hub", "team/app"), scopeOf("hub", "team/app")));
  t.notOk(isSameScope(scopeOf("hub", "team/app"), scopeOf("hub", "team/tool")));
  t.notOk(isSameScope(scopeOf("hub", "team/app"), scopeOf("mirror", "team/app")));
});
