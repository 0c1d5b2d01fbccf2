import t from "tap";
import { WakeQueue } from "../../../src/cache/fill/reading.ts";
import { eventually } from "../../fixtures/manual-time.ts";

t.test("eight are woken in a turn of the event loop, in order", async (t) => {
  const queue = new WakeQueue();
  const woken: number[] = [];
  const wait = (who: number): void => void queue.turn().then(() => woken.push(who));
  for (let who = 0; who < 20; who++) wait(who);
  const seen = new Set<number>();
  await eventually("all are awake", () => {
    seen.add(woken.length);
    return woken.length === 20;
  });
  t.same(
    [...seen].filter((count) => count > 0),
    [8, 16, 20],
  );
  t.same(
    woken,
    Array.from({ length: 20 }, (_, who) => who),
  );
  wait(20);
  await eventually("a later one is woken, too", () => woken.length === 21);
});
