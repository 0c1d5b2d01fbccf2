// Ranges far ahead of a fill: what is asked of upstream for them, who reads it, and that the fill passes over it.
import t, { type Test } from "tap";
import type { Fill, FillOptions } from "../../../src/cache/fill/fill.ts";
import { holdBack } from "../../../src/cache/fill/range-plan.ts";
import type { BlobReader } from "../../../src/ports/blobs.ts";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import {
  type CacheFixture,
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  readAll,
  readBytes,
  spoolFiles,
  startFill,
} from "../../fixtures/cache-fixture.ts";
import { failing } from "../../fixtures/faulty-store.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import { repo, type Transfer } from "../../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", 16 * mebibyte + 123);
const size = bytes.length;
const app = repo("team/app");

interface Run {
  readonly cache: CacheFixture;
  readonly fill: Fill;
  /** Upstreams that do not do ranges, as the fill has learned. */
  readonly refused: () => boolean;
  /** Lets the first transfer of the fill go on. */
  readonly goOn: () => void;
}

interface Start {
  /** Where the first transfer of the fill stops. */
  readonly at?: number;
  /** Called for each of its chunks. */
  readonly pace?: (cache: CacheFixture) => void;
  /** What the transfers after it do. */
  readonly next?: readonly Transfer[];
  readonly roundTrip?: number;
  readonly options?: Partial<FillOptions>;
}

async function start(
  t: Test,
  { at = 128 * 1024, pace, next = [], roundTrip = 40, options }: Start = {},
): Promise<Run> {
  const cache = await openCache(t);
  const { upstream } = cache;
  const digest = upstream.addBlob(app, bytes);
  const held = gate();
  t.teardown(held.open);
  upstream.transfers.push({ hold: { at, until: held.opened }, pace: () => pace?.(cache) }, ...next);
  let refused = false;
  const fill = startFill(cache, digest, {
    open: (from, signal, { ahead }) =>
      upstream.openBlob(app, digest, from, signal, { to: ahead.partEnd(from) }),
    pieces: {
      open: (from, to, signal) => upstream.openBlob(app, digest, from, signal, { to }),
      roundTrip,
      get refused() {
        return refused;
      },
      refuse: () => {
        refused = true;
      },
    },
    ...options,
  });
  await fill.head;
  await eventually("the fill stands still", () => fill.received === at);
  return { cache, fill, refused: () => refused, goOn: held.open };
}

/** Reads one range, as a client does; `end` is exclusive. */
async function readRange(fill: Fill, from: number, end: number): Promise<Buffer> {
  const reader = fill.follow();
  reader.expect?.([{ start: from, end: end - 1 }]);
  try {
    return await readBytes(reader, { from, end });
  } finally {
    await reader.close();
  }
}

/** What upstream was asked for: from where, and where to, if not to the end. */
function asked({ upstream }: CacheFixture): string[] {
  return upstream.calls.map((call) => call.split(" from ")[1] ?? "");
}

async function completes(t: Test, { cache, fill }: Pick<Run, "cache" | "fill">): Promise<void> {
  await fill.done;
  t.equal(fill.failure, undefined);
  const stored = await cache.store.open(fill.digest);
  t.ok(stored && (await readAll(stored)).equals(bytes), "what is stored is right");
  await nothingLeft(t, cache);
}

t.test("the last bytes come before the fill does, and it does not fetch them again", async (t) => {
  const run = await start(t);
  const { cache, fill, goOn } = run;
  t.ok(
    (await readRange(fill, size - mebibyte, size - 60)).equals(bytes.subarray(size - mebibyte, size - 60)),
  );
  t.equal(fill.received, 128 * 1024, "the fill has not moved");
  t.same(asked(cache), ["0", `${size - mebibyte} to ${size - 60}`]);
  goOn();
  await completes(t, run);
  t.same(asked(cache).slice(2), [`${size - 60}`]);
  const twice = cache.upstream.bytesSent - size;
  t.ok(twice < 16 * 1024, `a part of the chunk on its way when the fill was cut comes twice: ${twice}`);
});

t.test("a few bytes are rather sent again than asked for on a connection of their own", async (t) => {
  const run = await start(t);
  const { cache, fill, goOn } = run;
  t.ok((await readRange(fill, size - 60, size)).equals(bytes.subarray(size - 60)));
  goOn();
  await completes(t, run);
  t.same(asked(cache), ["0", `${size - 60} to ${size}`]);
  t.equal(cache.upstream.bytesSent, size + 60);
});

t.test("a range the fill reaches soon waits for it", async (t) => {
  const { cache, fill, goOn } = await start(t);
  const near = fill.received + mebibyte;
  const read = readRange(fill, near, near + 10);
  goOn();
  t.ok((await read).equals(bytes.subarray(near, near + 10)));
  await fill.done;
  t.same(asked(cache), ["0"]);
});

t.test("soon is two round trips at the rate of the fill, and 100 ms at least", async (t) => {
  for (const [roundTrip, reach] of [
    [40, 100],
    [100, 200],
  ] as const)
    await t.test(`over ${roundTrip} ms`, async (t) => {
      // 16 KiB come in 2 ms.
      const pace = (cache: CacheFixture) => cache.clock.advance(2);
      const { cache, fill } = await start(t, { at: 2 * mebibyte, pace, roundTrip });
      const near = fill.received + reach * 8_000;
      const far = fill.received + reach * 8_400;
      const reading = readRange(fill, near, near + 1);
      await quiet();
      t.same(asked(cache), ["0"], "the fill brings it");
      t.ok((await readRange(fill, far, far + 1)).equals(bytes.subarray(far, far + 1)));
      t.same(asked(cache).slice(1), [`${far} to ${far + 1}`]);
      fill.abort(new Error("enough"));
      await t.rejects(reading, { message: "enough" });
    });
});

t.test("clients that ask for the same and for overlapping ranges share what comes", async (t) => {
  const run = await start(t);
  const { cache, fill, goOn } = run;
  const from = 8 * mebibyte;
  const reads = Array.from({ length: 20 }, (_, i) => readRange(fill, from + i * 1000, from + mebibyte));
  for (const [i, read] of (await Promise.all(reads)).entries())
    t.ok(read.equals(bytes.subarray(from + i * 1000, from + mebibyte)));
  t.same(asked(cache).slice(1), [`${from} to ${from + mebibyte}`]);
  goOn();
  await completes(t, run);
});

t.test("twenty clients that split the blob into ranges to its end: every byte comes once", async (t) => {
  const run = await start(t, { at: 16 * 1024 });
  const { cache, fill, goOn } = run;
  const part = 4 * mebibyte;
  const readPart = async (from: number): Promise<boolean> => {
    const reader = fill.follow();
    reader.expect?.([{ start: from, end: size - 1 }]);
    const end = Math.min(size, from + part);
    let right = true;
    for (let position = from; position < end; ) {
      const chunk = await reader.read(position, Buffer.alloc(Math.min(256 * 1024, end - position)));
      right &&= chunk.equals(bytes.subarray(position, position + chunk.length));
      position += chunk.length;
    }
    await reader.close();
    return right;
  };
  const parts = Array.from({ length: Math.ceil(size / part) }, (_, i) => i * part);
  const clients = Array.from({ length: 20 }, () => parts.map(readPart)).flat();
  await eventually("ranges are being fetched", () => cache.upstream.calls.length > 3);
  goOn();
  t.notOk((await Promise.all(clients)).includes(false), "every byte is right");
  await completes(t, run);
  t.ok(cache.upstream.bytesSent <= size * 1.02, `${cache.upstream.bytesSent} of ${size} bytes`);
});

t.test("a range to the end comes in pieces that grow, since its client may leave long before", async (t) => {
  const { cache, fill, goOn } = await start(t);
  const from = 2 * mebibyte;
  const reader = fill.follow();
  reader.expect?.([{ start: from, end: size - 1 }]);
  t.ok(
    (await readBytes(reader, { from, end: from + 6 * mebibyte })).equals(
      bytes.subarray(from, from + 6 * mebibyte),
    ),
  );
  await reader.close();
  t.same(asked(cache).slice(1), [
    `${from} to ${from + mebibyte}`,
    `${from + mebibyte} to ${from + 3 * mebibyte}`,
    `${from + 3 * mebibyte} to ${from + 7 * mebibyte}`,
  ]);
  goOn();
  await fill.done;
});

t.test("a range longer than 64 KiB that reaches the end is held back; a shorter one is not", async (t) => {
  const { cache, fill, goOn } = await start(t);
  const from = size - 2 * holdBack;
  const reader = fill.follow();
  reader.expect?.([{ start: from, end: size - 1 }]);
  t.ok(
    (await readBytes(reader, { from, end: size - holdBack })).equals(bytes.subarray(from, size - holdBack)),
  );
  let rest: Buffer | undefined;
  const reading = readBytes(reader, { from: size - holdBack, end: size }).then((read) => {
    rest = read;
  });
  t.equal((await readRange(fill, size - holdBack, size)).length, holdBack, "another client has these bytes");
  t.equal(rest, undefined);
  goOn();
  await reading;
  t.ok(rest?.equals(bytes.subarray(size - holdBack)));
  t.equal(fill.verified, true);
  await reader.close();
  await fill.done;
  await nothingLeft(t, cache);
});

t.test("many ranges of one request cost at most 16 requests upstream", async (t) => {
  const { cache, fill, goOn } = await start(t);
  const step = Math.floor((size - 2 * mebibyte) / 100);
  const ranges = Array.from({ length: 100 }, (_, i) => {
    const from = 2 * mebibyte + i * step;
    return { start: from, end: from + 99 };
  });
  const reader = fill.follow();
  reader.expect?.(ranges);
  goOn();
  for (const { start: from, end } of ranges)
    t.ok((await readBytes(reader, { from, end: end + 1 })).equals(bytes.subarray(from, end + 1)));
  await reader.close();
  await completes(t, { cache, fill });
  const pieces = asked(cache).filter((call) => call.includes(" to "));
  t.ok(pieces.length <= 32, `${pieces.length} requests, the parts of the fill among them`);
});

for (const [what, transfer] of [
  ["ignores ranges", { ignoreRange: true }],
  ["answers 501", { failWith: new UpstreamError("server_error", "by the test", { status: 501 }) }],
  ["answers another range", { failWith: new UpstreamError("range_refused", "by the test", { status: 206 }) }],
] as const)
  t.test(`an upstream that ${what} is not asked again: the client waits for the fill`, async (t) => {
    const run = await start(t, { next: [transfer] });
    const { cache, fill, goOn, refused } = run;
    const read = readRange(fill, 8 * mebibyte, 8 * mebibyte + 10);
    await eventually("it is known", refused);
    goOn();
    t.ok((await read).equals(bytes.subarray(8 * mebibyte, 8 * mebibyte + 10)));
    await completes(t, run);
    t.equal(cache.upstream.count("GET blob"), 2);
  });

t.test(
  "a piece that breaks is asked for again, and after four failures clients wait for the fill",
  async (t) => {
    const from = 8 * mebibyte;
    const next = [1, 2, 3, 4].map((i) => ({ cutAt: from + i * 100_000 }));
    const run = await start(t, { next });
    const { cache, fill, goOn, refused } = run;
    const read = readRange(fill, from, from + mebibyte);
    await eventually(
      "all have failed",
      () => cache.upstream.calls.length === 5 && cache.upstream.sending === 1,
    );
    t.same(
      asked(cache).slice(1),
      [0, 1, 2, 3].map((i) => `${from + i * 100_000} to ${from + mebibyte}`),
    );
    goOn();
    t.ok((await read).equals(bytes.subarray(from, from + mebibyte)));
    t.equal(refused(), false);
    await completes(t, run);
  },
);

t.test("the digest covers what clients were given: wrong bytes of a piece fail the fill", async (t) => {
  const wrong = Buffer.from(bytes);
  wrong[10 * mebibyte] = (wrong[10 * mebibyte] ?? 0) ^ 1;
  const { cache, fill, goOn } = await start(t, { next: [{ bytes: wrong }] });
  await readRange(fill, 10 * mebibyte, 10 * mebibyte + 60);
  fill.answeredUnverified({ id: "1", client: "10.0.0.1", repository: "team/app", userAgent: "curl" });
  goOn();
  await fill.done;
  t.match(fill.failure, { code: "digest_mismatch" });
  t.match(noticesOf(cache, "wrong_range"), [
    { upstream: "up", digest: fill.digest, answers: 1, answer: { id: "1" } },
  ]);
  t.equal(await cache.store.open(fill.digest), undefined);
  await nothingLeft(t, cache);
});

t.test(
  "a disk that is full beyond the fill: the client waits, nothing is kept, every byte is right",
  async (t) => {
    const run = await start(t);
    const { cache, fill, goOn } = run;
    cache.store.faults.set("writeAt", failing("no_space"));
    const reader: BlobReader = fill.follow();
    reader.expect?.([{ start: 8 * mebibyte, end: 8 * mebibyte + 9 }]);
    const read = readBytes(reader, { from: 8 * mebibyte, end: 8 * mebibyte + 10 });
    await eventually("the store has failed", () => noticesOf(cache, "store_error").length === 1);
    goOn();
    t.ok((await read).equals(bytes.subarray(8 * mebibyte, 8 * mebibyte + 10)));
    await reader.close();
    await fill.done;
    t.match(noticesOf(cache, "fill"), [{ result: "discarded" }], "nobody was left to read it");
    await nothingLeft(t, cache);
  },
);

t.test("a piece that cannot be read back comes again from upstream", async (t) => {
  const run = await start(t);
  const { cache, fill, goOn } = run;
  const from = 8 * mebibyte;
  t.ok((await readRange(fill, from, from + mebibyte)).equals(bytes.subarray(from, from + mebibyte)));
  cache.store.faults.set("readSpool", failing("io"));
  goOn();
  await completes(t, run);
  t.match(asked(cache)[2], `${from} to ${from + mebibyte}`, "a part of the fill, as long as usual");
});

t.test("what is kept for a later fill has no pieces: the record claims what is in order", async (t) => {
  const { cache, fill, goOn } = await start(t, {
    at: 5 * mebibyte,
    options: { mayKeep: () => true },
  });
  await readRange(fill, size - 60, size);
  await eventually("nobody follows", () => cache.time.waiting > 0);
  cache.time.elapse();
  goOn();
  await fill.done;
  t.match(noticesOf(cache, "fill"), [{ result: "resumable" }]);
  const kept = await cache.store.resume(fill.digest, "up");
  t.equal(kept?.writer.written, 5 * mebibyte);
  t.equal(kept?.writer.extent, 5 * mebibyte);
  const scratch = Buffer.alloc(100);
  t.equal((await kept?.writer.read(size - 60, scratch))?.length, 0);
  await kept?.writer.abort();
  await kept?.writer.release();
  t.same(await spoolFiles(cache), []);
});

t.test("the last client leaves, and what it asked for is fetched all the same, for the fill", async (t) => {
  const held = gate();
  const from = 8 * mebibyte;
  const run = await start(t, { next: [{ hold: { at: from + 32 * 1024, until: held.opened } }] });
  const { cache, fill, goOn } = run;
  const reader = fill.follow();
  reader.expect?.([{ start: from, end: from + mebibyte - 1 }]);
  await readBytes(reader, { from, end: from + 1000 });
  await reader.close();
  goOn();
  await eventually("the fill waits for the piece", () => fill.received === from + 32 * 1024);
  held.open();
  await completes(t, run);
  t.ok(cache.upstream.bytesSent <= size + 32 * 1024);
});

t.test("a fill that is ended waits for what its pieces write, and leaves nothing", async (t) => {
  const from = 8 * mebibyte;
  const { cache, fill, goOn } = await start(t);
  const writing = gate();
  cache.store.faults.set("writeAt", () => writing.opened);
  const read = readRange(fill, from, from + mebibyte);
  await eventually("a piece is being written", () => cache.store.count("writeAt") === 1);
  fill.abort(new Error("stop"));
  await t.rejects(read, { message: "stop" });
  goOn();
  await quiet();
  t.equal(cache.store.count("abort"), 0);
  writing.open();
  await fill.done;
  await nothingLeft(t, cache);
});

t.test("what a piece may take of the disk counts", async (t) => {
  const { cache, fill, goOn } = await start(t);
  await readRange(fill, size - 60, size);
  t.equal(fill.spooled, size, "the furthest byte");
  t.equal(cache.store.spoolBytes, size);
  goOn();
  await fill.done;
  t.equal(fill.stored, true);
  t.equal(cache.store.spoolBytes, 0);
});
