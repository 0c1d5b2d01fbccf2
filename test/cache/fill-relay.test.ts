// The store fails, or the blob is too large for it: clients are served straight from upstream, at the pace of the
// slowest one that goes on reading.
import t, { type Test } from "tap";
import { type Fill, type FillOptions, holdBack } from "../../src/cache/fill.ts";
import type { BlobReader } from "../../src/cache/ports.ts";
import {
  type House,
  mebibyte,
  nothingLeft,
  noticesOf,
  openHouse,
  readAll,
  readBytes,
  readUntilFailure,
  startFill,
} from "../fixtures/cache-house.ts";
import { failing, fullAt } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import type { Transfer } from "../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", 3 * mebibyte + 11);
const small = bytes.subarray(0, 300_000);
const share = 512 * 1024;
const chunk = 16 * 1024;
const patience = 30_000;

interface Relay {
  readonly house: House;
  readonly fill: Fill;
}

/** A fill that can keep 512 KiB in memory. */
async function relay(
  t: Test,
  blob: Buffer,
  breakStore: (house: House) => Partial<FillOptions> | undefined,
  ...transfers: Transfer[]
): Promise<Relay> {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", blob);
  house.upstream.transfers.push(...transfers);
  const options = breakStore(house);
  return { house, fill: startFill(house, digest, { windowBytes: share, ...options }) };
}

function noSpool({ store }: House): undefined {
  store.faults.set("create", failing("no_space"));
}

function tooLarge(): Partial<FillOptions> {
  return { spool: async () => undefined };
}

function fullAtOneMebibyte({ store }: House): undefined {
  store.faults.set("append", fullAt(mebibyte));
}

async function notStored(t: Test, { house, fill }: Relay, op: string | undefined): Promise<void> {
  await fill.done;
  t.equal(fill.storing, false);
  t.equal(await house.store.open(fill.digest), undefined, "nothing is stored");
  t.same(
    noticesOf(house, "fill").map(({ result, bytes: received }) => ({ result, received })),
    [{ result: "not_stored", received: fill.size }],
  );
  t.same(
    noticesOf(house, "store_error").map((notice) => notice.op),
    op === undefined ? [] : [op],
  );
  await nothingLeft(t, house);
}

/** Ends every pause of the fill until `over`: what a clock would do. */
async function untilOver(house: House, over: Promise<unknown>): Promise<void> {
  let done = false;
  void over.finally(() => {
    done = true;
  });
  await eventually("the end", () => {
    if (house.time.waiting > 0) house.time.elapse();
    return done;
  });
}

t.test(
  "without a spool every byte is relayed and verified, nothing is stored, and that is noted",
  async (t) => {
    const run = await relay(t, bytes, noSpool);
    t.equal(run.fill.storing, true, "nobody knows yet");
    const bodies = await Promise.all([1, 2, 3].map(() => readAll(run.fill.follow())));
    t.ok(bodies.every((body) => body.equals(bytes)));
    t.equal(run.house.upstream.bytesSent, bytes.length);
    await notStored(t, run, "create");
    t.equal(noticesOf(run.house, "store_error")[0]?.code, "no_space");
  },
);

t.test("a blob that is not to be stored is relayed without a word about the store", async (t) => {
  const run = await relay(t, bytes, tooLarge);
  t.ok((await readAll(run.fill.follow())).equals(bytes));
  await notStored(t, run, undefined);
});

t.test("wrong bytes are held back without a spool as well", async (t) => {
  const wrong = Buffer.from(bytes);
  wrong[0] = (wrong[0] as number) ^ 1;
  const run = await relay(t, bytes, noSpool, { bytes: wrong });
  const { bytes: read, error } = await readUntilFailure(run.fill.follow());
  t.match(error, { code: "digest_mismatch" });
  t.ok(read.length <= bytes.length - holdBack);
  await run.fill.done;
  t.equal(noticesOf(run.house, "fill")[0]?.result, "discarded");
});

t.test("the disk fills up on the way: all who read complete, also those far behind", async (t) => {
  const near = gate();
  const run = await relay(t, bytes, fullAtOneMebibyte, { hold: { at: mebibyte, until: near.opened } });
  const { house, fill } = run;
  const slow = fill.follow();
  await slow.read(0, Buffer.alloc(10));
  await eventually("the spool is nearly full", () => fill.received === mebibyte);
  near.open();
  const fast = [1, 2].map(() => readAll(fill.follow()));
  await eventually("the disk is full", () => !fill.storing);
  t.equal(fill.joinable, true, "what was spooled can still be read");
  const joined = readAll(fill.follow());
  const all = await Promise.all([...fast, joined, readAll(slow)]);
  t.ok(all.every((body) => body.equals(bytes)));
  t.ok(house.store.spoolBytesRead > 0);
  t.equal(house.upstream.bytesSent, bytes.length);
  await notStored(t, run, "append");
});

t.test("the last append fails: all who read complete", async (t) => {
  const run = await relay(t, bytes, ({ store }) => void store.faults.set("append", fullAt(bytes.length - 1)));
  const bodies = await Promise.all([1, 2].map(() => readAll(run.fill.follow())));
  t.ok(bodies.every((body) => body.equals(bytes)));
  await notStored(t, run, "append");
});

t.test("the commit fails: all who read complete, also one that joins and one that is slow", async (t) => {
  const run = await relay(t, bytes, ({ store }) => void store.faults.set("commit", failing()));
  const { fill } = run;
  const slow = fill.follow();
  await eventually("the commit has failed", () => !fill.storing);
  t.equal(fill.joinable, true);
  const late = fill.follow();
  t.ok((await readAll(late)).equals(bytes));
  let over = false;
  void fill.done.then(() => {
    over = true;
  });
  await quiet();
  t.equal(over, false, "what is left in memory stays until the last one has left");
  t.ok((await readAll(slow)).equals(bytes));
  await notStored(t, run, "commit");
});

t.test("a spool that cannot be removed is one more notice", async (t) => {
  const run = await relay(t, small, ({ store }) => {
    store.faults.set("commit", failing());
    store.faults.set("abort", failing());
    return undefined;
  });
  t.ok((await readAll(run.fill.follow())).equals(small));
  await run.fill.done;
  t.same(
    noticesOf(run.house, "store_error").map(({ op }) => op),
    ["commit", "abort"],
  );
});

t.test("aborting lets go of followers that stopped before the end", async (t) => {
  const run = await relay(t, small, noSpool);
  const reader = run.fill.follow();
  await eventually("everything is verified", () => noticesOf(run.house, "fill").length > 0);
  run.fill.abort(new Error("this node is stopping"));
  await run.fill.done;
  await t.rejects(reader.read(0, Buffer.alloc(1)), { message: "this node is stopping" });
  await reader.close();
});

// ---- who is waited for ------------------------------------------------------------------------------------------

t.test("the slowest one that reads sets the pace, and memory stays within its bound", async (t) => {
  let most = 0;
  const run = await relay(t, bytes, noSpool, {
    pace: () => {
      most = Math.max(most, run.fill.held);
    },
  });
  const { house, fill } = run;
  const slow = fill.follow();
  const fast = readAll(fill.follow());
  const ahead: number[] = [];
  let position = 0;
  while (position < bytes.length - holdBack - share) {
    await eventually("the fill waits for the slow one", () => house.time.waiting === 1);
    ahead.push(fill.received - position);
    position += (await slow.read(position, Buffer.alloc(chunk))).length;
    // Only asking for the next bytes says that these have been taken.
    position += (await slow.read(position, Buffer.alloc(chunk))).length;
  }
  t.ok(
    ahead.length > 50 && Math.min(...ahead) > share - 2 * chunk && Math.max(...ahead) <= share + 2 * chunk,
  );
  t.ok((await readBytes(slow, { from: position })).equals(bytes.subarray(position)));
  await slow.close();
  t.ok((await fast).equals(bytes));
  t.ok(most <= share + chunk, `at most ${most} bytes in memory`);
  t.same(new Set(house.time.asked), new Set([patience]));
  t.equal(house.time.waiting, 0, "no pause is left behind");
  await notStored(t, run, "create");
});

t.test("one that began further on holds nobody up", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const { house, fill } = run;
  const far = fill.follow();
  const from = 2 * mebibyte;
  const range = far.read(from, Buffer.alloc(100)).finally(() => far.close());
  t.ok((await readAll(fill.follow())).equals(bytes));
  t.equal((await range).compare(bytes, from, from + 100), 0);
  t.notOk(house.time.asked.includes(patience) && house.time.waiting > 0);
  await notStored(t, run, "create");
});

/** A stopped follower is let go after the patience; the other one completes. */
async function isDropped(t: Test, { house, fill }: Relay, stopped: BlobReader, fast: Promise<Buffer>) {
  await eventually("the fill waits for the one that stopped", () => house.time.waiting === 1);
  await quiet();
  t.equal(fill.followers, 2);
  house.time.elapse();
  await eventually("it is let go", () => fill.followers < 2);
  t.ok((await fast).equals(bytes), "the other one has everything");
  await t.rejects(stopped.read(0, Buffer.alloc(1)), { name: "StoreError", code: "no_space" });
  await stopped.close();
  t.same(house.time.asked, [patience]);
}

t.test("one that never reads is let go after 30 s", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const stopped = run.fill.follow();
  await isDropped(t, run, stopped, readAll(run.fill.follow()));
  await notStored(t, run, "create");
});

t.test("one that stops within a chunk is let go after 30 s", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const stopped = run.fill.follow();
  const position = (await stopped.read(0, Buffer.alloc(100))).length;
  await stopped.read(position, Buffer.alloc(100));
  await isDropped(t, run, stopped, readAll(run.fill.follow()));
  await notStored(t, run, "create");
});

t.test("one that stops at the end of a chunk is let go after 30 s", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const stopped = run.fill.follow();
  const fast = readAll(run.fill.follow());
  for (let position = 0; position < mebibyte; )
    position += (await stopped.read(position, Buffer.alloc(chunk))).length;
  await isDropped(t, run, stopped, fast);
  await notStored(t, run, "create");
});

/**
 * A disk that is full after 1 MiB, and a follower that has stopped just before that: behind the window's end, and
 * ahead of its start.
 */
async function stoppedInSpool(
  t: Test,
): Promise<Relay & { stopped: BlobReader; position: number; fast: Promise<Buffer> }> {
  const near = gate();
  const batch = share / 2;
  const run: Relay = await relay(t, bytes, fullAtOneMebibyte, {
    pace: async (at) => {
      await eventually(
        "the batch is written",
        () => run.house.store.spooled >= Math.min(at - (at % batch), mebibyte),
      );
      if (at === mebibyte) await near.opened;
    },
  });
  const stopped = run.fill.follow();
  const position = mebibyte - chunk;
  await eventually("the disk is full", () => run.house.store.spooled === mebibyte);
  await stopped.read(position, Buffer.alloc(chunk));
  const reader = run.fill.follow();
  const head = await readBytes(reader, { end: mebibyte });
  const fast = readBytes(reader, { from: mebibyte })
    .then((rest) => Buffer.concat([head, rest]))
    .finally(() => reader.close());
  near.open();
  return { ...run, stopped, position, fast };
}

t.test("one that stops in what was spooled before the disk was full is let go after 30 s", async (t) => {
  const run = await stoppedInSpool(t);
  await isDropped(t, run, run.stopped, run.fast);
  await notStored(t, run, "append");
});

t.test("one that is far behind in the spool but reads on is waited for", async (t) => {
  const run = await stoppedInSpool(t);
  const { house, fill, stopped: slow, position, fast } = run;
  for (let step = 1; step <= 3; step++) {
    await eventually("the fill waits for the slow one", () => house.time.waiting === 1);
    await slow.read(position + step * 100, Buffer.alloc(100));
    house.time.elapse();
    await quiet();
    t.equal(fill.followers, 2, "it takes little, but not nothing");
  }
  const rest = readBytes(slow, { from: position });
  t.ok((await fast).equals(bytes));
  t.ok((await rest).equals(bytes.subarray(position)));
  await slow.close();
  await notStored(t, run, "append");
});

t.test("nobody can join a relay whose first bytes are gone", async (t) => {
  const run = await relay(t, bytes, noSpool);
  t.equal(run.fill.joinable, true);
  const reader = run.fill.follow();
  await readBytes(reader, { end: mebibyte });
  t.equal(run.fill.joinable, false);
  const late = run.fill.follow();
  await t.rejects(late.read(0, Buffer.alloc(1)), {
    name: "StoreError",
    code: "io",
    message: /no longer held/,
  });
  await late.close();
  t.ok((await readBytes(reader, { from: mebibyte })).equals(bytes.subarray(mebibyte)));
  await reader.close();
  await notStored(t, run, "create");
});

// ---- nobody reads -----------------------------------------------------------------------------------------------

async function givenUp(t: Test, { house, fill }: Relay): Promise<void> {
  await fill.done;
  t.ok(fill.received < bytes.length, `after ${fill.received} bytes`);
  t.same(
    noticesOf(house, "fill").map(({ result }) => result),
    ["discarded"],
  );
  t.equal(fill.joinable, false);
  const late = fill.follow();
  await t.rejects(late.read(0, Buffer.alloc(1)), { name: "StoreError", code: "unavailable" });
  await late.close();
  await nothingLeft(t, house);
}

t.test("a blob nobody reads and nothing stores is not downloaded to its end", async (t) => {
  const run = await relay(t, bytes, noSpool);
  await givenUp(t, run);
  t.ok(run.fill.received <= share + chunk);
});

t.test("a relay everybody has left ends, whether or not it was waiting for them", async (t) => {
  await t.test("waiting", async (t) => {
    const run = await relay(t, bytes, noSpool);
    const reader = run.fill.follow();
    await eventually("the fill waits", () => run.house.time.waiting === 1);
    await reader.close();
    await givenUp(t, run);
    t.equal(run.house.time.waiting, 0);
  });
  await t.test("going on", async (t) => {
    const run = await relay(t, bytes, noSpool);
    const reader = run.fill.follow();
    await readBytes(reader, { end: mebibyte });
    await reader.close();
    await givenUp(t, run);
    t.ok(run.fill.received <= 2 * mebibyte);
  });
  await t.test("all let go", async (t) => {
    const run = await relay(t, bytes, noSpool);
    const readers = [run.fill.follow(), run.fill.follow()];
    await untilOver(run.house, run.fill.done);
    await givenUp(t, run);
    for (const reader of readers) await reader.close();
  });
});

t.test("a small blob is complete before anybody has to be waited for", async (t) => {
  const run = await relay(t, small, noSpool);
  await notStored(t, run, "create");
  t.equal(run.fill.received, small.length);
});

t.test("an aborted relay waits for nobody", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const reader = run.fill.follow();
  await eventually("the fill waits", () => run.house.time.waiting === 1);
  run.fill.abort(new Error("this node is stopping"));
  await run.fill.done;
  t.equal(run.house.time.waiting, 0);
  await t.rejects(reader.read(0, Buffer.alloc(1)), { message: "this node is stopping" });
  await reader.close();
  await nothingLeft(t, run.house);
});
