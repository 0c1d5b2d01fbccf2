import t from "tap";
import { NotificationQueue } from "../../../src/telemetry/notifications/notification-endpoint.ts";

t.test("first come, first served, and the oldest goes when there are too many", async (t) => {
  const queue = new NotificationQueue<number>(3);
  t.same(
    [1, 2, 3, 4, 5].map((each) => queue.push(each)),
    [true, true, true, false, false],
  );
  t.equal(queue.length, 3);
  t.same(queue.oldest(2).items, [3, 4]);
  t.same(queue.oldest(9).items, [3, 4, 5]);
  t.equal(queue.length, 3, "they stay");
});

t.test("what was pushed out meanwhile is not taken off again", async (t) => {
  const queue = new NotificationQueue<number>(3);
  for (const each of [1, 2, 3]) queue.push(each);
  const { mark } = queue.oldest(2);
  queue.push(4);
  t.equal(queue.takeOff(mark), 1, "1 had gone by itself");
  t.same(queue.oldest(9).items, [3, 4]);
  t.equal(queue.takeOff(mark), 0);
});
