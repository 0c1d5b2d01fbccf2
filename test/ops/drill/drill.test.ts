import t from "tap";
import { Drill } from "../../../src/ops/drill/drill.ts";
import type { DrillRecord } from "../../../src/ports/datacenter/drill.ts";

function start(node = "a") {
  const time = { wall: 1_000_000, steady: 0 };
  const changes: DrillRecord[] = [];
  const drill = new Drill({
    node,
    clock: () => time.wall,
    steady: () => time.steady,
    changed: (record) => changes.push(record),
  });
  const pass = (milliseconds: number): void => {
    time.wall += milliseconds;
    time.steady += milliseconds;
  };
  return { drill, time, changes, pass };
}

t.test(
  "it covers its networks until its end, an hour at most, by the clock that only goes forward",
  async (t) => {
    const { drill, time, pass } = start();
    t.equal(drill.covers("10.1.2.3"), false);
    drill.start(["10.0.0.0/8", "fd00::1"], 7_200_000);
    t.match(drill.state, { endsAt: time.wall + 3_600_000 });
    t.equal(drill.covers("10.1.2.3"), true);
    t.equal(drill.covers("fd00::1"), true);
    t.equal(drill.covers("192.0.2.1"), false);
    t.equal(drill.covers(""), false);
    pass(3_599_999);
    time.wall -= 3_000_000;
    t.equal(drill.covers("10.1.2.3"), true);
    pass(1);
    t.equal(drill.covers("10.1.2.3"), false);
    t.equal(drill.state, undefined);
  },
);

t.test("nodes take over what another one has begun or ended, the last word counts", async (t) => {
  const [a, b] = [start("a"), start("b")];
  a.drill.start(["10.0.0.0/8"], 600_000);
  b.drill.heard(a.drill.told as DrillRecord);
  t.equal(b.drill.covers("10.1.2.3"), true);
  t.match(b.drill.state, { node: "a" });
  for (const each of [a, b]) each.pass(1_000);
  t.equal(b.drill.stop(), true);
  t.equal(b.drill.covers("10.1.2.3"), false);
  t.equal(b.drill.stop(), false);
  t.match(b.drill.told, { clients: [], node: "b" }, "that it was ended is told on");
  b.drill.heard(a.drill.told as DrillRecord);
  t.equal(b.drill.covers("10.1.2.3"), false, "what is older counts for nothing");
  a.drill.heard(b.drill.told as DrillRecord);
  t.equal(a.drill.covers("10.1.2.3"), false);
  for (const each of [a, b]) each.pass(600_000);
  t.equal(b.drill.told, undefined);
});

t.test(
  "what a node says whose clock is wrong ends all the same, and what is no network is left out",
  async (t) => {
    const { drill, time, pass } = start();
    const record = { clients: ["10.0.0.0/8"], startedAt: 0, node: "b" };
    drill.heard({ ...record, clients: ["x"], endsAt: time.wall + 1_000, changedAt: 1 });
    t.equal(drill.state, undefined);
    drill.heard({ ...record, endsAt: time.wall, changedAt: 1 });
    t.equal(drill.state, undefined, "it is over");
    drill.heard({ ...record, endsAt: time.wall * 1_000, changedAt: time.wall * 1_000 });
    t.equal(drill.covers("10.1.2.3"), true);
    t.equal(drill.stop(), true, "it can be ended here");
    drill.heard({ ...record, endsAt: time.wall * 1_000, changedAt: time.wall * 1_000 });
    t.equal(drill.covers("10.1.2.3"), false);
    drill.start(["10.0.0.0/8"], 1_000);
    pass(1_000);
    t.equal(drill.isOn, false);
  },
);
