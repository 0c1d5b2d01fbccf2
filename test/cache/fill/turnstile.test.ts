import t from "tap";
import { Turnstile } from "../../../src/cache/fill/turnstile.ts";
import { eventually } from "../../fixtures/manual-time.ts";

t.test("eight pass in a turn of the event loop, in order", async (t) => {
  const turnstile = new Turnstile();
  const passed: number[] = [];
  const pass = (who: number): void => void turnstile.pass().then(() => passed.push(who));
  for (let who = 0; who < 20; who++) pass(who);
  const seen = new Set<number>();
  await eventually("all have passed", () => {
    seen.add(passed.length);
    return passed.length === 20;
  });
  t.same(
    [...seen].filter((count) => count > 0),
    [8, 16, 20],
  );
  t.same(
    passed,
    Array.from({ length: 20 }, (_, who) => who),
  );
  pass(20);
  await eventually("a later one passes, too", () => passed.length === 21);
});
