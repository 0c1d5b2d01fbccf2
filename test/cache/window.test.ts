import fc from "fast-check";
import t from "tap";
import { Window, WindowBudget } from "../../src/cache/window.ts";

/** The same, with nothing clever: one byte array and where each chunk begins. */
class NaiveWindow {
  chunks: { start: number; bytes: Buffer }[] = [];
  end = 0;

  get start(): number {
    return this.chunks.length === 0 ? this.end : Math.min(...this.chunks.map(({ start }) => start));
  }

  push(bytes: Buffer): void {
    this.chunks.push({ start: this.end, bytes });
    this.end += bytes.length;
  }

  trim(offset: number, keep: number): void {
    for (const { start, bytes } of [...this.chunks]) {
      if (this.end - this.start <= keep || start + bytes.length > offset) return;
      this.chunks = this.chunks.filter((chunk) => chunk.start !== start);
    }
  }

  since(offset: number): Buffer[] {
    const holds = this.chunks.some(({ start, bytes }) => start <= offset && offset < start + bytes.length);
    return holds
      ? this.chunks.filter(({ start, bytes }) => start + bytes.length > offset).map(({ bytes }) => bytes)
      : [];
  }

  at(position: number): Buffer | undefined {
    for (const { start, bytes } of this.chunks)
      if (start <= position && position < start + bytes.length) return bytes.subarray(position - start);
    return undefined;
  }
}

const operation = fc.oneof(
  fc.record({ push: fc.uint8Array({ minLength: 1, maxLength: 12 }) }),
  fc.record({ offset: fc.nat(200), keep: fc.nat(60) }),
);

t.test("a window behaves like its model, whatever is pushed and trimmed", async (t) => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const window = new Window();
      const model = new NaiveWindow();
      for (const step of operations) {
        for (const each of [window, model])
          if ("push" in step) each.push(Buffer.from(step.push));
          else each.trim(step.offset, step.keep);
        if (window.start !== model.start || window.end !== model.end) return false;
        if (window.bytes !== model.end - model.start) return false;
        for (let position = -1; position <= model.end + 1; position++) {
          const [bytes, expected] = [window.at(position), model.at(position)];
          if ((bytes === undefined) !== (expected === undefined)) return false;
          if (bytes !== undefined && expected !== undefined && !bytes.equals(expected)) return false;
          const [since, all] = [window.since(position), model.since(position)];
          if (since.length !== all.length || !Buffer.concat(since).equals(Buffer.concat(all))) return false;
        }
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass("for 500 sequences");
});

t.test("trimming keeps what may not be forgotten, and no more than asked", async (t) => {
  const window = new Window();
  t.same([window.start, window.end, window.bytes], [0, 0, 0]);
  window.trim(100, 0);
  for (const size of [10, 20, 30]) window.push(Buffer.alloc(size, size));
  window.trim(29, 0);
  t.equal(window.start, 10, "a chunk goes whole or not at all");
  window.trim(30, 50);
  t.equal(window.start, 10, "50 bytes are not more than 50");
  window.trim(30, 49);
  t.equal(window.start, 30);
  window.trim(1_000, 0);
  t.same([window.start, window.end, window.bytes], [60, 60, 0]);
});

t.test("what is handed out is the memory of the chunk, not a copy", async (t) => {
  const window = new Window();
  const chunk = Buffer.from("abcdef");
  window.push(chunk);
  t.equal(window.at(2)?.buffer, chunk.buffer);
  t.equal(window.at(2)?.toString(), "cdef");
  t.equal(window.since(0)[0], chunk);
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
