import t from "tap";
import { flightKey, SingleFlight } from "../../src/cache/single-flight.ts";
import { gate } from "../fixtures/manual-time.ts";

t.test("all who ask while a call runs share it; the next one starts anew", async (t) => {
  const flights = new SingleFlight<number>();
  const held = gate();
  let calls = 0;
  const work = async () => {
    calls++;
    await held.opened;
    return calls;
  };
  const first = flights.run("key", work);
  const others = [1, 2, 3].map(() => flights.run("key", work));
  t.equal(first.joined, false);
  t.ok(others.every(({ joined }) => joined));
  const elsewhere = flights.run("another key", async () => 7);
  t.equal(elsewhere.joined, false);
  t.equal(await elsewhere.promise, 7, "another key waits for nobody");
  held.open();
  t.same(await Promise.all([first, ...others].map(({ promise }) => promise)), [1, 1, 1, 1]);
  const next = flights.run("key", work);
  t.equal(next.joined, false);
  t.equal(await next.promise, 2);
});

t.test("a failure reaches all who share the call and is not remembered", async (t) => {
  const flights = new SingleFlight<number>();
  const failure = new Error("no");
  const first = flights.run("key", async () => {
    throw failure;
  });
  const second = flights.run("key", async () => 1);
  t.equal(second.joined, true);
  await t.rejects(first.promise, failure);
  await t.rejects(second.promise, failure);
  t.equal(await flights.run("key", async () => 2).promise, 2);
});

t.test("keys of different parts are different", async (t) => {
  const parts = [["a", "b"], ["a,b"], ["a", "b", ""], ["ab"], ['a","b'], [], [""]];
  t.equal(new Set(parts.map((part) => flightKey(...part))).size, parts.length);
  t.equal(flightKey("a", "b"), flightKey("a", "b"));
});
