import t from "tap";
import { Speed } from "../../../src/cache/fill/speed.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

t.test("how long nothing has come: since the last bytes, or since the beginning", (t) => {
  const clock = new ManualClock();
  const speed = new Speed(clock.read);
  clock.advance(700);
  t.equal(speed.silentFor, 700);
  speed.note(1000);
  t.equal(speed.silentFor, 0);
  clock.advance(5000);
  t.equal(speed.silentFor, 5000);
  t.equal(speed.rate, 1000 / 5700);
  t.end();
});
