import t from "tap";
import { NextCall, SharedCall, SingleFlight } from "../../src/ports/single-flight.ts";

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

t.test("a shared call runs once for all who ask meanwhile, and anew after it", async (t) => {
  const call = new SharedCall<number>();
  let runs = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = async () => {
    runs++;
    await promise;
    return runs;
  };
  t.equal(call.isRunning, false);
  const [first, second] = [call.run(work), call.run(work)];
  t.equal(call.isRunning, true);
  resolve();
  t.same(await Promise.all([first, second]), [1, 1]);
  t.equal(call.isRunning, false);
  await t.rejects(
    call.run(() => Promise.reject(new Error("by the test"))),
    { message: "by the test" },
  );
  t.equal(await call.run(work), 2, "a failure is not remembered");
});

t.test("a next call is one for all who ask while another one runs, and begins after it", async (t) => {
  const calls = new NextCall();
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let begun = 0;
  const work = (): Promise<void> => (gates[begun++] ?? gates[0])?.promise ?? Promise.resolve();
  const first = calls.run(work);
  await new Promise(setImmediate);
  t.equal(begun, 1);
  const [second, third] = [calls.run(work), calls.run(work)];
  t.equal(second, third, "one for both");
  await new Promise(setImmediate);
  t.equal(begun, 1, "it has not begun");
  gates[0]?.reject(new Error("by the test"));
  await t.rejects(first, { message: "by the test" });
  await new Promise(setImmediate);
  t.equal(begun, 2, "a failure ends nothing but its own");
  gates[1]?.resolve();
  await Promise.all([second, calls.last]);
});
