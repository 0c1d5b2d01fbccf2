import { mock } from "node:test";
import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { StoreError } from "../../../src/ports/blobs.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { PendingTouches, type Touch } from "../../../src/storage/index/pending-touches.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

function digest(at: number): Digest {
  return digestOf(Buffer.from(`blob ${at}`));
}

/** Touches whose writes are recorded, and fail as long as `failure` is set. */
function recorded(): {
  touches: PendingTouches;
  writes: ReadonlyMap<Digest, Touch>[];
  notices: Notice[];
  fail: (failure: Error | undefined) => void;
  pause: (paused: boolean) => void;
} {
  const writes: ReadonlyMap<Digest, Touch>[] = [];
  const notices: Notice[] = [];
  let failure: Error | undefined;
  let paused = false;
  const write = (touches: ReadonlyMap<Digest, Touch>): void => {
    if (failure) throw failure;
    writes.push(touches);
  };
  const touches = new PendingTouches(
    write,
    () => paused,
    (notice) => notices.push(notice),
  );
  return {
    touches,
    writes,
    notices,
    fail: (next) => (failure = next),
    pause: (next) => (paused = next),
  };
}

function mockTimers(t: Test): void {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
}

t.test(
  "a thousand digests wait, whatever the number of touches; one more, and a hundred are written",
  async (t) => {
    const { touches, writes } = recorded();
    for (let round = 0; round < 3; round++) for (let at = 0; at < 999; at++) touches.add(digest(at), round);
    t.equal(writes.length, 0);
    touches.add(digest(999), 7);
    t.equal(writes.length, 1);
    t.same(
      [...(writes[0]?.keys() ?? [])],
      Array.from({ length: 100 }, (_, at) => digest(at)),
      "those that waited longest",
    );
    t.same(
      writes[0]?.get(digest(0)),
      { usedAt: 2, uses: 3 },
      "the last use of each, and how many there were",
    );
    for (let at = 1_000; at < 1_100; at++) touches.add(digest(at), 7);
    t.same(
      writes.map(({ size }) => size),
      [100, 100],
    );
    touches.flush();
    t.same(
      writes.map(({ size }) => size),
      [100, 100, 900],
    );
    touches.flush();
    t.equal(writes.length, 3, "nothing is left to write");
  },
);

t.test("in a pause of the writing they wait, and no more than two thousand", async (t) => {
  mockTimers(t);
  const { touches, writes, pause } = recorded();
  pause(true);
  for (let at = 0; at < 1_999; at++) touches.add(digest(at), 1);
  mock.timers.tick(10_000);
  t.equal(writes.length, 0);
  touches.add(digest(1_999), 1);
  t.same(
    writes.map(({ size }) => size),
    [100],
  );
  pause(false);
  for (let turns = 0; turns < 30; turns++) mock.timers.tick(5);
  t.same(
    writes.map(({ size }) => size),
    Array(20).fill(100),
    "then a hundred at a time",
  );
});

t.test("those asked for are written, and no others", async (t) => {
  const { touches, writes } = recorded();
  for (let at = 0; at < 3; at++) touches.add(digest(at), at);
  t.equal(touches.write([digest(1), digest(7)]), true);
  t.same(writes, [new Map([[digest(1), { usedAt: 1, uses: 1 }]])]);
  t.equal(touches.write([digest(1), digest(7)]), false);
  t.equal(writes.length, 1);
});

t.test("after five seconds they are written", async (t) => {
  mockTimers(t);
  const { touches, writes } = recorded();
  touches.add(digest(1), 1);
  mock.timers.tick(4_999);
  touches.add(digest(2), 2);
  t.equal(writes.length, 0);
  mock.timers.tick(1);
  t.same(writes, [
    new Map([
      [digest(1), { usedAt: 1, uses: 1 }],
      [digest(2), { usedAt: 2, uses: 1 }],
    ]),
  ]);
  mock.timers.tick(60_000);
  t.equal(writes.length, 1, "no timer without a touch");
  touches.add(digest(3), 3);
  mock.timers.tick(5_000);
  t.equal(writes.length, 2);
});

t.test("a blob that is used all the time is written once in five seconds", async (t) => {
  mockTimers(t);
  const { touches, writes } = recorded();
  for (let at = 0; at < 250; at++) touches.add(digest(at), 0);
  for (let time = 0; time < 15_000; time += 5) {
    mock.timers.tick(5);
    touches.add(digest(0), time);
  }
  t.same(
    writes.map(({ size }) => size),
    [100, 100, 51, 1],
  );
});

t.test("what is forgotten is not written", async (t) => {
  const { touches, writes } = recorded();
  touches.add(digest(1), 1);
  touches.add(digest(2), 2);
  touches.forget(digest(1));
  touches.flush();
  t.same([...(writes[0]?.keys() ?? [])], [digest(2)]);
});

t.test("a write that fails is told once, and a hit is not hurt by it", async (t) => {
  mockTimers(t);
  const { touches, writes, notices, fail } = recorded();
  fail(new StoreError("no_space", "cannot use the index: database or disk is full"));
  touches.add(digest(1), 1);
  mock.timers.tick(5_000);
  for (let at = 0; at < 1000; at++) touches.add(digest(at), at);
  const told = { kind: "store_error", op: "touch", code: "no_space" };
  t.match(notices, [told, told]);
  touches.add(digest(1), 2);
  t.throws(() => touches.flush(), { name: "StoreError", code: "no_space" }, "who asks for a flush is told");
  fail(undefined);
  touches.flush();
  t.equal(writes.length, 0, "dropped, so that memory stays bounded");
});
