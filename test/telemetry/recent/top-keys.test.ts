import t from "tap";
import { TopKeys } from "../../../src/telemetry/recent/top-keys.ts";

t.test("exact as long as there is room", (t) => {
  const keys = new TopKeys(4);
  for (const [key, weight] of [
    ["a", 1],
    ["b", 5],
    ["a", 2],
  ] as const)
    keys.add(key, weight);
  t.strictSame(keys.top(10), [
    { key: "b", weight: 5, over: 0 },
    { key: "a", weight: 3, over: 0 },
  ]);
  t.equal(keys.top(1).length, 1);
  t.end();
});

t.test("what is heavy stays among a flood of names, within the bound it states", (t) => {
  const keys = new TopKeys(16);
  for (let i = 0; i < 10_000; i++) {
    keys.add(`rare-${i}`, 1);
    if (i % 4 === 0) keys.add("heavy", 1);
  }
  const [first] = keys.top(1);
  t.equal(first?.key, "heavy");
  t.ok((first?.weight ?? 0) >= 2500);
  t.ok((first?.weight ?? 0) - (first?.over ?? 0) <= 2500);
  t.equal(keys.top(1000).length, 16);
  t.end();
});

t.test("two generations count, older ones are forgotten", (t) => {
  const keys = new TopKeys(4);
  keys.add("a", 3);
  keys.turn();
  keys.add("a", 1);
  keys.add("b", 2);
  t.strictSame(
    keys.top(2).map(({ key, weight }) => [key, weight]),
    [
      ["a", 4],
      ["b", 2],
    ],
  );
  keys.turn();
  t.equal(keys.top(2)[0]?.key, "b");
  keys.turn();
  t.strictSame(keys.top(2), []);
  t.end();
});
