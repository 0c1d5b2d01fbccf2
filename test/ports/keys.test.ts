import t from "tap";
import { deleteBelow, keyOf } from "../../src/ports/keys.ts";

t.test("keys cannot be forged by what is in their parts", async (t) => {
  t.not(keyOf("a", "b,c"), keyOf("a,b", "c"));
  t.not(keyOf('a","b'), keyOf("a", "b"));
});

t.test("entries below some parts go, and no others", async (t) => {
  const keys = [keyOf("a"), keyOf("a", "b"), keyOf("a", "b", "c"), keyOf("ab", "c"), keyOf("b", "a")];
  const map = new Map(keys.map((key) => [key, true]));
  deleteBelow(map, "a");
  t.same([...map.keys()], [keyOf("a"), keyOf("ab", "c"), keyOf("b", "a")]);
});
