import t from "tap";
import { SingleFlight } from "../../src/ports/single-flight.ts";

t.test("callers of one key share a call, failure and all, and the next starts anew", async (t) => {
  const flights = new SingleFlight<number>();
  const gate = Promise.withResolvers<number>();
  const first = flights.run("k", () => gate.promise);
  const second = flights.run("k", () => Promise.reject(new Error("not called")));
  t.match([first.joined, second.joined, flights.run("other", async () => 1).joined], [false, true, false]);
  gate.reject(new Error("down"));
  await t.rejects(first.promise, { message: "down" });
  await t.rejects(second.promise, { message: "down" });
  t.equal(await flights.run("k", async () => 2).promise, 2);
});

t.test("a detached call ends for those who wait, counts no more, and lets another one be", async (t) => {
  const flights = new SingleFlight<string>();
  const [old, fresh] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const work =
    (name: string, gate: Promise<void>) =>
    async (counts: () => boolean): Promise<string> => {
      await gate;
      return `${name} ${counts()}`;
    };
  const before = flights.run("k", work("old", old.promise));
  flights.detach("k");
  flights.detach("nothing runs here");
  const after = flights.run("k", work("new", fresh.promise));
  t.notOk(after.joined);
  old.resolve();
  t.equal(await before.promise, "old false");
  fresh.resolve();
  t.equal(await after.promise, "new true");
});
