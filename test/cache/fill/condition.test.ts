import { mock } from "node:test";
import t from "tap";
import { Condition } from "../../../src/cache/fill/condition.ts";
import { ManualPause, quiet } from "../../fixtures/manual-time.ts";

t.test("a notification wakes all that wait, and none that waits for the next", async (t) => {
  const condition = new Condition();
  const woken: string[] = [];
  const first = [1, 2].map((who) => condition.notified.then(() => woken.push(`first ${who}`)));
  condition.notify();
  const second = condition.notified.then(() => woken.push("second"));
  await Promise.all(first);
  await quiet();
  t.same(woken, ["first 1", "first 2"]);
  condition.notify();
  await second;
  t.equal(woken.length, 3);
});

t.test("soon: one notification for all that ask for one, and none when it came earlier", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const condition = new Condition();
  let notifications = 0;
  const listen = (): void =>
    void condition.notified.then(() => {
      notifications++;
      listen();
    });
  listen();
  condition.notifySoon(20);
  mock.timers.tick(15);
  condition.notifySoon(20);
  await quiet();
  t.equal(notifications, 0);
  mock.timers.tick(5);
  await quiet();
  t.equal(notifications, 1, "20 ms after the first");
  condition.notifySoon(20);
  condition.notify();
  await quiet();
  mock.timers.tick(100);
  await quiet();
  t.equal(notifications, 2);
});

t.test("within: true at once, or at the notification after it has become true", async (t) => {
  const condition = new Condition();
  const time = new ManualPause();
  t.equal(await condition.within(5_000, time.pause, () => true), true);
  t.equal(time.waiting, 0, "no pause is left behind");
  let checks = 0;
  let so = false;
  const waiting = condition.within(5_000, time.pause, () => {
    checks++;
    return so;
  });
  await quiet();
  t.equal(checks, 1, "it is checked once before the first notification");
  condition.notify();
  await quiet();
  t.equal(checks, 2);
  so = true;
  condition.notify();
  t.equal(await waiting, true);
  t.equal(time.waiting, 0);
  t.same(time.asked, [5_000, 5_000]);
});

t.test(
  "within: false when the time is over, even though it has become true without a notification",
  async (t) => {
    const condition = new Condition();
    const time = new ManualPause();
    let so = false;
    const waiting = condition.within(5_000, time.pause, () => so);
    await quiet();
    so = true;
    time.elapse();
    t.equal(await waiting, false);
  },
);
