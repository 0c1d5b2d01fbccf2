import { randomBytes } from "node:crypto";
import t, { type Test } from "tap";
import {
  BlobChunks,
  chunkSize,
  maxSharedBytes,
  minSharingReaders,
  SharedChunks,
} from "../../../src/cache/fill/shared-chunks.ts";
import type { BlobReader, Lent } from "../../../src/ports/blobs.ts";

const content = randomBytes(5 * chunkSize + 1000);

/** A reader of `bytes` that counts; a read waits for `gate` first. */
function countingReader(bytes: Buffer, gate?: Promise<void>) {
  const reads: number[] = [];
  const reader: BlobReader = {
    read: async (position, scratch) => {
      reads.push(position);
      await gate;
      return scratch.subarray(0, bytes.copy(scratch, 0, position));
    },
    close: async () => {},
  };
  return { reads, reader };
}

function makeChunks(readers = minSharingReaders, shared = new SharedChunks()) {
  const crowd = { readers };
  return Object.assign(new BlobChunks(shared, () => crowd.readers), {
    leaveAll: () => {
      crowd.readers = 0;
    },
  });
}

async function lendAll(chunks: BlobChunks, reader: BlobReader, positions: readonly number[]) {
  const lent = await Promise.all(positions.map((position) => chunks.lend(reader, position, chunkSize)));
  return lent.map((one) => one as Lent);
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

t.test("what several clients read at once is read once, and all get it", async (t) => {
  const chunks = makeChunks();
  const { reads, reader } = countingReader(content);
  const lent = await lendAll(chunks, reader, [0, 0, 0, 0]);
  t.same(reads, [0]);
  for (const { bytes } of lent) t.ok(bytes.equals(content.subarray(0, chunkSize)));
  for (const { giveBack } of lent) giveBack(true);
  const later = await chunks.lend(reader, 0, chunkSize);
  t.same(reads, [0], "and it is kept for those that come a little later");
  later?.giveBack(true);
});

t.test("from any byte, at most as many as asked for, up to the blob's end", async (t) => {
  const chunks = makeChunks();
  const { reader } = countingReader(content);
  for (const [position, max] of [
    [0, 1],
    [chunkSize - 1, 10],
    [chunkSize, chunkSize],
    [3 * chunkSize + 17, chunkSize],
    [content.length - 1, chunkSize],
  ] as const) {
    const lent = await chunks.lend(reader, position, max);
    const length = Math.min(max, chunkSize - (position % chunkSize), content.length - position);
    t.ok(lent?.bytes.equals(content.subarray(position, position + length)), `${max} bytes at ${position}`);
    lent?.giveBack(true);
  }
});

t.test("a few read for themselves", async (t) => {
  const chunks = makeChunks(minSharingReaders - 1);
  const { reads, reader } = countingReader(content);
  t.equal(await chunks.lend(reader, 0, chunkSize), undefined);
  t.same(reads, []);
});

t.test("a chunk that came short serves those whose bytes it has", async (t) => {
  const chunks = makeChunks();
  const { reader } = countingReader(content.subarray(0, 100));
  const lent = await chunks.lend(reader, 99, chunkSize);
  t.equal(lent?.bytes.length, 1);
  t.equal(await chunks.lend(reader, 100, chunkSize), undefined, "the others read for themselves");
  lent?.giveBack(true);
});

t.test(
  "memory has a bound: idle chunks go, and when all are being sent each client reads for itself",
  async (t) => {
    const shared = new SharedChunks();
    const bytes = randomBytes(maxSharedBytes + 2 * chunkSize);
    const chunks = makeChunks(minSharingReaders, shared);
    const { reads, reader } = countingReader(bytes);
    const fits = maxSharedBytes / chunkSize;
    const lent = await lendAll(
      chunks,
      reader,
      numbers(fits).map((at) => at * chunkSize),
    );
    t.equal(shared.bytes, maxSharedBytes);
    t.equal(await chunks.lend(reader, maxSharedBytes, chunkSize), undefined);
    const joined = await chunks.lend(reader, 0, chunkSize);
    t.ok(joined, "what is there is still shared");
    joined?.giveBack(true);
    lent[3]?.giveBack(true);
    const next = await chunks.lend(reader, maxSharedBytes, chunkSize);
    t.ok(
      next?.bytes.equals(bytes.subarray(maxSharedBytes, maxSharedBytes + chunkSize)),
      "in the place of an idle one",
    );
    t.ok(lent[2]?.bytes.equals(bytes.subarray(2 * chunkSize, 3 * chunkSize)), "and of no other");
    t.equal(shared.bytes, maxSharedBytes);
    t.equal(reads.length, fits + 1);
  },
);

t.test("after a read that fails each client reads for itself, and nothing is kept", async (t) => {
  const shared = new SharedChunks();
  const chunks = makeChunks(minSharingReaders, shared);
  const broken: BlobReader = { read: () => Promise.reject(new Error("broken")), close: async () => {} };
  const both = [chunks.lend(broken, 0, chunkSize), chunks.lend(broken, 5, chunkSize)];
  t.same(await Promise.all(both), [undefined, undefined]);
  t.equal(shared.bytes, 0);
  const { reader } = countingReader(content);
  t.ok(await chunks.lend(reader, 0, chunkSize));
});

t.test("memory a socket may still send from is not used again", async (t) => {
  const shared = new SharedChunks();
  const chunks = makeChunks(minSharingReaders, shared);
  const { reader } = countingReader(content);
  const [torn, whole] = (await lendAll(chunks, reader, [0, 0])) as [Lent, Lent];
  torn.giveBack(false);
  whole.giveBack(true);
  t.equal(shared.bytes, 0);
  const next = await chunks.lend(reader, chunkSize, chunkSize);
  t.not(next?.bytes.buffer, torn.bytes.buffer);
  next?.giveBack(true);
  const again = await chunks.lend(reader, 0, chunkSize);
  t.not(again?.bytes.buffer, torn.bytes.buffer);
});

t.test(
  "the last reader takes along what is kept; what is still being sent goes when it is sent",
  async (t) => {
    const shared = new SharedChunks();
    const chunks = makeChunks(minSharingReaders, shared);
    const { reader } = countingReader(content);
    const [first, second] = (await lendAll(chunks, reader, [0, chunkSize])) as [Lent, Lent];
    first.giveBack(true);
    t.equal(shared.bytes, 2 * chunkSize);
    chunks.leaveAll();
    chunks.readerLeft();
    t.equal(shared.bytes, chunkSize);
    t.ok(second.bytes.equals(content.subarray(chunkSize, 2 * chunkSize)));
    second.giveBack(true);
    t.equal(shared.bytes, 0);
  },
);

t.test("memory that a read still writes to is not used again", async (t: Test) => {
  const shared = new SharedChunks();
  const gate = Promise.withResolvers<void>();
  const slow = countingReader(content, gate.promise);
  const chunks = makeChunks(minSharingReaders, shared);
  const waiting = chunks.lend(slow.reader, 0, chunkSize);
  chunks.leaveAll();
  chunks.readerLeft();
  t.equal(shared.bytes, chunkSize, "a read is under way");
  gate.resolve();
  (await waiting)?.giveBack(true);
  t.equal(shared.bytes, 0);
});
