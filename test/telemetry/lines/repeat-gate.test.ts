import t from "tap";
import { createRepeatGate } from "../../../src/telemetry/lines/repeat-gate.ts";

t.test("one passes per window, and tells how many did not", (t) => {
  let now = 1000;
  const mayPass = createRepeatGate(100, () => now);
  t.equal(mayPass("a"), 0);
  t.equal(mayPass("a"), undefined);
  now = 1099;
  t.equal(mayPass("a"), undefined);
  t.equal(mayPass("b"), 0, "keys do not share a window");
  now = 1100;
  t.equal(mayPass("a"), 2);
  now = 1199;
  t.equal(mayPass("a"), undefined, "the window starts with what passed");
  now = 5000;
  t.equal(mayPass("a"), 1);
  now = 9000;
  t.equal(mayPass("a"), 0);
  t.end();
});

t.test("what it remembers is bounded: the key first seen is forgotten", (t) => {
  const mayPass = createRepeatGate(100, () => 0);
  for (let i = 0; i < 1025; i++) t.equal(mayPass(`key ${i}`), 0);
  t.equal(mayPass("key 1024"), undefined, "the newest is known");
  t.equal(mayPass("key 0"), 0, "the oldest is not");
  t.end();
});
