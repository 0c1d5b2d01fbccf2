import { Readable } from "node:stream";
import t from "tap";
import { BlobBody, discard, readSmallBody } from "../../src/upstream/body.ts";
import { upstreamError } from "../fixtures/connected-upstream.ts";
import { gate, quiet } from "../fixtures/manual-time.ts";

const chunk = Buffer.alloc(64 * 1024, 1);

/** A source of `count` chunks that counts what was taken from it. */
function source(count: number): { body: Readable; taken: () => number } {
  let taken = 0;
  const body = new Readable({
    read() {
      if (taken === count) this.push(null);
      else {
        taken++;
        this.push(chunk);
      }
    },
  });
  return { body, taken: () => taken };
}

function blobBody(body: Readable, expected?: number) {
  const steps: number[] = [];
  const failures: unknown[] = [];
  const blob = new BlobBody(body, {
    expected,
    received: (bytes) => steps.push(bytes),
    failure: (cause) => {
      failures.push(cause);
      return new Error("broken");
    },
  });
  return { blob, steps, failures };
}

t.test("chunks are passed on as they are, not copied or joined", async (t) => {
  const { blob } = blobBody(source(20).body, 20 * chunk.length);
  let count = 0;
  for await (const received of blob) {
    count++;
    if (received !== chunk) t.fail("another buffer");
  }
  t.equal(count, 20);
  t.same(await blob.next(), { done: true, value: undefined }, "and stays at its end");
});

t.test("at most 64 KiB and what the source itself holds are read ahead", async (t) => {
  const { body, taken } = source(1000);
  const { blob } = blobBody(body);
  await blob.next();
  await new Promise(setImmediate);
  t.ok(taken() <= 8, `${taken()} chunks of 64 KiB`);
  for (let at = 0; at < 500; at++) await blob.next();
  await new Promise(setImmediate);
  t.ok(taken() <= 510, `${taken()} after 501`);
  await blob.return();
  t.ok(body.destroyed);
});

t.test("progress is reported in steps of 8 MiB and at the end", async (t) => {
  const { blob, steps } = blobBody(source(300).body);
  for await (const _ of blob);
  t.same(steps, [8 * 1024 * 1024, 8 * 1024 * 1024, 300 * chunk.length - 16 * 1024 * 1024]);
});

t.test("a failure is reported once, after what had arrived", async (t) => {
  const { body } = source(1000);
  const { blob, failures, steps } = blobBody(body);
  await blob.next();
  await new Promise(setImmediate);
  const cause = new Error("cut");
  body.destroy(cause);
  await new Promise(setImmediate);
  let more = 0;
  await t.rejects(async () => {
    for await (const _ of blob) more++;
  }, new Error("broken"));
  t.ok(more >= 1);
  t.same(failures, [cause]);
  t.same(steps, [(more + 1) * chunk.length]);
});

t.test("another length than announced is a failure", async (t) => {
  for (const expected of [3 * chunk.length + 1, 3 * chunk.length - 1]) {
    const { blob, failures } = blobBody(source(3).body, expected);
    await t.rejects(async () => {
      for await (const _ of blob);
    }, new Error("broken"));
    t.same(failures, [undefined]);
  }
});

t.test("an early end is no failure", async (t) => {
  const { blob, failures } = blobBody(source(1000).body, 1);
  for await (const _ of blob) break;
  await new Promise(setImmediate);
  t.same(failures, []);
});

t.test("a pacer holds what has come, and its source; it is told the end", async (t) => {
  const { body, taken } = source(1000);
  const turn = gate();
  const told: (number | "over")[] = [];
  const pacer = {
    came: (bytes: number) => (told.push(bytes) === 2 ? turn.opened : undefined),
    over: () => void told.push("over"),
  };
  const options = { expected: undefined, received: () => {}, failure: () => new Error("broken") };
  const blob = new BlobBody(body, { ...options, pacer });
  await blob.next();
  const second = blob.next();
  await quiet();
  t.ok(taken() < 8, "the source waits");
  turn.open();
  t.equal((await second).value, chunk);
  t.same(told, [chunk.length, chunk.length]);
  await blob.return();
  t.same(told.slice(2), ["over"]);
});

t.test(
  "a pacer hears of a transfer that breaks off, so that nothing waits for its turn any more",
  async (t) => {
    const { body } = source(1000);
    const turn = gate();
    const pacer = { came: () => turn.opened, over: () => turn.open() };
    const options = { expected: undefined, received: () => {}, failure: () => new Error("broken") };
    const blob = new BlobBody(body, { ...options, pacer });
    const first = blob.next();
    await quiet();
    body.destroy(new Error("reset"));
    t.equal((await first).value, chunk, "what had come is handed out");
  },
);

t.test("a body that is discarded is read, up to 64 KiB", async (t) => {
  const short = source(1);
  discard(short.body);
  await new Promise((resolve) => short.body.once("close", resolve));
  t.ok(short.body.readableEnded);
  const long = source(1000);
  discard(long.body);
  await new Promise((resolve) => long.body.once("close", resolve));
  t.notOk(long.body.readableEnded);
  t.ok(long.taken() < 8);
});

t.test("a small body is read whole or not at all", async (t) => {
  const limits = { upstream: "main", limit: 2 * chunk.length, timeout: 1000 };
  t.equal((await readSmallBody(source(2).body, limits))?.length, 2 * chunk.length);
  const { body, taken } = source(1000);
  t.equal(await readSmallBody(body, limits), undefined);
  t.ok(body.destroyed);
  t.ok(taken() < 6);
  const silent = new Readable({ read() {} });
  const error = await upstreamError(readSmallBody(silent, { ...limits, timeout: 10 }));
  t.equal(error.code, "timeout");
});
