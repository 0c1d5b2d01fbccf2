import fc from "fast-check";
import t from "tap";
import { BufferPool, maxLentBytes, type PooledBuffer } from "../../../src/cache/fill/buffer-pool.ts";
import { bufferSize, Window, WindowBudget } from "../../../src/cache/fill/window.ts";
import type { Lent } from "../../../src/ports/blobs.ts";

/** The same, with nothing clever: every byte that came, and where what is held begins. */
class NaiveWindow {
  all = Buffer.alloc(0);
  start = 0;

  get end(): number {
    return this.all.length;
  }

  push(bytes: Buffer): void {
    this.all = Buffer.concat([this.all, bytes]);
  }

  trim(offset: number, keep: number): void {
    this.start = Math.max(this.start, Math.min(offset, this.end - keep));
  }
}

const longest = 3 * bufferSize;
const operation = fc.oneof(
  fc.record({ push: fc.integer({ min: 1, max: longest }), fill: fc.nat(255) }),
  fc.record({ offset: fc.nat(8 * bufferSize), keep: fc.nat(longest) }),
  fc.record({ from: fc.nat(8 * bufferSize), length: fc.nat(longest) }),
);

t.test("a window behaves like its model, whatever is pushed and trimmed", async (t) => {
  const pool = new BufferPool(bufferSize);
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 20 }), (operations) => {
      const window = new Window(pool);
      const model = new NaiveWindow();
      for (const step of operations) {
        if ("push" in step) {
          const chunk = Buffer.alloc(step.push, step.fill);
          window.push(chunk);
          model.push(chunk);
          chunk.fill(0);
        } else if ("keep" in step) {
          const offset = Math.min(step.offset, model.end);
          window.trim(offset, step.keep);
          model.trim(offset, step.keep);
        } else {
          const target = Buffer.alloc(step.length);
          const copied = window.copy(step.from, target);
          const expected =
            step.from < model.start ? "" : model.all.subarray(step.from, step.from + step.length);
          if (!target.subarray(0, copied).equals(Buffer.from(expected))) return false;
        }
        if (window.start !== model.start || window.end !== model.end) return false;
        if (window.bytes !== model.end - model.start) return false;
        const middle = Math.floor((model.start + model.end) / 2);
        if (!Buffer.concat(window.since(middle)).equals(model.all.subarray(middle))) return false;
      }
      window.trim(window.end, 0);
      return true;
    }),
    { numRuns: 200 },
  );
  t.pass("for 200 sequences that hand their memory on");
});

t.test("trimming keeps what may not be forgotten, and no more than asked", async (t) => {
  const window = new Window(new BufferPool(bufferSize));
  t.same([window.start, window.end, window.bytes], [0, 0, 0]);
  window.trim(0, 0);
  for (const size of [10, 20, 30]) window.push(Buffer.alloc(size, size));
  window.trim(29, 0);
  t.equal(window.start, 29);
  window.trim(40, 31);
  t.equal(window.start, 29, "31 bytes are not more than 31");
  window.trim(40, 25);
  t.equal(window.start, 35);
  t.equal(window.copy(34, Buffer.alloc(1)), 0, "forgotten");
  t.equal(window.copy(60, Buffer.alloc(1)), 0, "not there yet");
  window.trim(1_000, 0);
  t.same([window.start, window.end, window.bytes], [60, 60, 0]);
});

t.test("memory that is forgotten is used again, and no more than the bytes held need", async (t) => {
  const pool = new BufferPool(bufferSize);
  let lent = 0;
  let made = 0;
  const counting = Object.assign(Object.create(pool) as BufferPool, {
    take: () => {
      lent++;
      made = Math.max(made, lent);
      return pool.take();
    },
    release: (buffer: PooledBuffer) => {
      lent--;
      pool.release(buffer);
    },
  });
  const window = new Window(counting);
  const chunk = Buffer.alloc(60_000, 1);
  for (let pushed = 0; pushed < 200; pushed++) {
    window.push(chunk);
    window.trim(window.end, 4 * bufferSize);
    t.ok(lent <= 6, `${lent} buffers for 4 buffers of bytes`);
  }
  window.trim(window.end, 0);
  t.equal(lent, 0, "all given back");
  t.ok(made <= 6);
  const [first, second] = [pool.take(), pool.take()];
  pool.release(first);
  t.equal(pool.take().bytes, first.bytes);
  t.not(second.bytes, first.bytes);
});

t.test("what is lent stays as it is until it is given back, wherever the window has gone", async (t) => {
  const pool = new BufferPool(bufferSize);
  const window = new Window(pool);
  const begin = Buffer.alloc(bufferSize - 100, 1);
  window.push(begin);
  const lent = window.lend(10, 50) as Lent;
  t.equal(lent.bytes.length, 50, "no more than asked for");
  const again = window.lend(10, bufferSize) as Lent;
  t.ok(again.bytes.equals(begin.subarray(10)), "no more than there is");
  for (let round = 2; round < 6; round++) {
    window.push(Buffer.alloc(bufferSize, round));
    window.trim(window.end, 0);
  }
  t.equal(window.lend(10, 50), undefined, "forgotten");
  t.equal(window.lend(window.end, 50), undefined, "not there yet");
  lent.giveBack(true);
  window.push(Buffer.alloc(bufferSize, 6));
  t.ok(again.bytes.equals(begin.subarray(10)), "somebody is still being sent it");
  again.giveBack(true);
  window.trim(window.end, 0);
  const reused = [pool.take(), pool.take(), pool.take()].map(({ bytes }) => bytes.buffer);
  t.ok(reused.includes(lent.bytes.buffer), "then its memory is used again");
});

t.test("at most the rest of one buffer is lent, and all of it may be had", async (t) => {
  const window = new Window(new BufferPool(bufferSize));
  const bytes = Buffer.from(Array.from({ length: 2 * bufferSize + 77 }, (_, at) => at % 251));
  window.push(bytes);
  window.trim(1000, 0);
  for (let position = 1000; position < bytes.length; ) {
    const lent = window.lend(position, bytes.length) as Lent;
    t.ok(lent.bytes.equals(bytes.subarray(position, position + lent.bytes.length)), `at ${position}`);
    position += lent.bytes.length;
    lent.giveBack(true);
  }
});

t.test("memory a socket may still send from is not used again", async (t) => {
  const pool = new BufferPool(bufferSize);
  const window = new Window(pool);
  window.push(Buffer.alloc(10));
  const lent = window.lend(0, 10) as Lent;
  lent.giveBack(false);
  window.trim(10, 0);
  t.not(pool.take().bytes.buffer, lent.bytes.buffer);
});

t.test("clients that take nothing keep so much memory from the windows, and no more", async (t) => {
  const pool = new BufferPool(bufferSize);
  const window = new Window(pool);
  const lent: Lent[] = [];
  // One turn more than the bound allows: without it this would take all memory there is.
  for (let turn = 0; turn <= maxLentBytes / bufferSize; turn++) {
    window.push(Buffer.alloc(bufferSize));
    const one = window.lend(window.start, bufferSize);
    window.trim(window.end, 0);
    if (one === undefined) break;
    lent.push(one);
  }
  t.equal(lent.length, maxLentBytes / bufferSize);
  lent[0]?.giveBack(true);
  window.push(Buffer.alloc(bufferSize));
  t.ok(window.lend(window.start, bufferSize), "one has gone on");
});

t.test("fills share the budget evenly, each within 512 KiB and 2 MiB", async (t) => {
  const kibibyte = 1024;
  const budget = new WindowBudget(4_000 * kibibyte);
  t.equal(budget.share, 2_048 * kibibyte, "nobody there yet");
  budget.enter();
  t.equal(budget.share, 2_048 * kibibyte);
  budget.enter();
  t.equal(budget.share, 2_000 * kibibyte);
  for (let fills = 3; fills <= 7; fills++) budget.enter();
  t.equal(budget.share, Math.floor((4_000 * kibibyte) / 7));
  for (let fills = 8; fills <= 50; fills++) budget.enter();
  t.equal(budget.share, 512 * kibibyte);
  for (let fills = 50; fills > 2; fills--) budget.leave();
  t.equal(budget.share, 2_000 * kibibyte);
  t.equal(new WindowBudget(100).share, 512 * kibibyte);
  t.equal(new WindowBudget(2 ** 40).share, 2_048 * kibibyte);
});
