import { mock } from "node:test";
import t from "tap";
import { Bell } from "../../../src/cache/fill/bell.ts";
import { ManualPause, quiet } from "../../fixtures/manual-time.ts";

t.test("a ring wakes all who wait, and nobody who waits for the next", async (t) => {
  const bell = new Bell();
  const woken: string[] = [];
  const first = [1, 2].map((who) => bell.rung.then(() => woken.push(`first ${who}`)));
  bell.ring();
  const second = bell.rung.then(() => woken.push("second"));
  await Promise.all(first);
  await quiet();
  t.same(woken, ["first 1", "first 2"]);
  bell.ring();
  await second;
  t.equal(woken.length, 3);
});

t.test("soon: one ring for all who want one, and none when it has rung meanwhile", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const bell = new Bell();
  let rings = 0;
  const listen = (): void =>
    void bell.rung.then(() => {
      rings++;
      listen();
    });
  listen();
  bell.ringSoon(20);
  mock.timers.tick(15);
  bell.ringSoon(20);
  await quiet();
  t.equal(rings, 0);
  mock.timers.tick(5);
  await quiet();
  t.equal(rings, 1, "20 ms after the first");
  bell.ringSoon(20);
  bell.ring();
  await quiet();
  mock.timers.tick(100);
  await quiet();
  t.equal(rings, 2);
});

t.test("within: true at once, or at the ring after it has come about", async (t) => {
  const bell = new Bell();
  const time = new ManualPause();
  t.equal(await bell.within(5_000, time.pause, () => true), true);
  t.equal(time.waiting, 0, "no pause is left behind");
  let asked = 0;
  let so = false;
  const waiting = bell.within(5_000, time.pause, () => {
    asked++;
    return so;
  });
  await quiet();
  t.equal(asked, 1, "it is asked once before the first ring");
  bell.ring();
  await quiet();
  t.equal(asked, 2);
  so = true;
  bell.ring();
  t.equal(await waiting, true);
  t.equal(time.waiting, 0);
  t.same(time.asked, [5_000, 5_000]);
});

t.test("within: false when the time is over, even though it has come about without a ring", async (t) => {
  const bell = new Bell();
  const time = new ManualPause();
  let so = false;
  const waiting = bell.within(5_000, time.pause, () => so);
  await quiet();
  so = true;
  time.elapse();
  t.equal(await waiting, false);
});
