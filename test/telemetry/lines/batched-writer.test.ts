import t from "tap";
import { BatchedWriter, type BatchedWriterOptions } from "../../../src/telemetry/lines/batched-writer.ts";

/** A writer whose batches are written when the test says so. */
function create(options: Partial<BatchedWriterOptions> = {}) {
  const batches: { readonly text: string; readonly lines: number; readonly end: (lost: number) => void }[] =
    [];
  const lost: number[] = [];
  const writer = new BatchedWriter({
    writeBatch(bytes, lines) {
      const { promise, resolve } = Promise.withResolvers<number>();
      batches.push({ text: bytes.toString(), lines, end: resolve });
      return promise;
    },
    onLost: (lines) => lost.push(lines),
    batchSize: 8,
    maxBytes: 24,
    gatherTime: 3_600_000,
    keepsProcess: false,
    flushTimeout: 3_600_000,
    ...options,
  });
  return { writer, batches, lost };
}

const turn = () => new Promise(setImmediate);

t.test("lines wait for others; a full batch does not wait, and one is written at a time", async (t) => {
  const { writer, batches } = create();
  writer.write("aa\n");
  t.same(batches, [], "it waits for others");
  writer.write("bb\n");
  writer.write("cc\n");
  t.match(batches, [{ text: "aa\nbb\n", lines: 2 }], "the batch it did not fit into goes out");
  writer.write("dd\n");
  writer.write("ee\n");
  t.equal(batches.length, 1, "while that is being written");
  batches[0]?.end(0);
  await turn();
  t.match(batches.slice(1), [{ text: "cc\ndd\n", lines: 2 }]);
});

t.test("what is over the bound is lost and counted, as is what a write says it has lost", async (t) => {
  const { writer, batches, lost } = create();
  for (const line of ["aaaaaa\n", "bbbbbb\n", "cccccc\n", "dddddd\n"]) writer.write(line);
  t.same(lost, [1], "three buffers are held, the one being written among them");
  batches[0]?.end(1);
  await turn();
  t.same(lost, [1, 1]);
  t.equal(writer.lost, 2);
  writer.write("eeeeee\n");
  t.same(lost, [1, 1], "there is room again");
});

t.test("a line longer than a batch has one of its own", async (t) => {
  const { writer, batches } = create();
  writer.write("0123456789\n");
  const flushed = writer.flush();
  t.match(batches, [{ text: "0123456789\n", lines: 1 }]);
  batches[0]?.end(0);
  await flushed;
});

t.test("a flush waits for all of it, and for no longer than it may", async (t) => {
  const { writer, batches } = create();
  for (const line of ["aaaaaa\n", "bbbbbb\n"]) writer.write(line);
  let flushed = false;
  const flush = writer.flush().then(() => {
    flushed = true;
  });
  batches[0]?.end(0);
  await turn();
  t.notOk(flushed);
  batches[1]?.end(0);
  await flush;
  await writer.flush();
  const stuck = create({ flushTimeout: 1 });
  stuck.writer.write("aa\n");
  await stuck.writer.flush();
  t.equal(stuck.batches.length, 1);
});
