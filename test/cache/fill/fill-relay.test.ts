// The store fails, or the blob is too large for it: clients are served straight from upstream.
import t, { type Test } from "tap";
import { holdBack } from "../../../src/cache/fill/range-plan.ts";
import {
  type CacheFixture,
  mebibyte,
  nothingLeft,
  noticesOf,
  readAll,
  readBytes,
  readUntilFailure,
} from "../../fixtures/cache-fixture.ts";
import { failing, fullAt } from "../../fixtures/faulty-store.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import {
  bytes,
  chunk,
  fullAtOneMebibyte,
  noSpool,
  notStored,
  type Relay,
  relay,
  share,
  small,
  tooLarge,
} from "../../fixtures/relayed-fill.ts";

t.test(
  "without a spool every byte is relayed and verified, nothing is stored, and that is noted",
  async (t) => {
    const run = await relay(t, bytes, noSpool);
    t.equal(run.fill.storing, false, "a spool is made once upstream has answered");
    const bodies = await Promise.all([1, 2, 3].map(() => readAll(run.fill.follow())));
    t.ok(bodies.every((body) => body.equals(bytes)));
    t.equal(run.cache.upstream.bytesSent, bytes.length);
    await notStored(t, run, "create");
    t.equal(noticesOf(run.cache, "store_error")[0]?.code, "no_space");
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
  t.equal(noticesOf(run.cache, "fill")[0]?.result, "discarded");
});

t.test("the disk fills up on the way: all who read complete, also those far behind", async (t) => {
  const near = gate();
  const run = await relay(t, bytes, fullAtOneMebibyte, { hold: { at: mebibyte, until: near.opened } });
  const { cache, fill } = run;
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
  t.ok(cache.store.spoolBytesRead > 0);
  t.equal(cache.upstream.bytesSent, bytes.length);
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
    noticesOf(run.cache, "store_error").map(({ op }) => op),
    ["commit", "abort"],
  );
});

t.test("aborting lets go of followers that stopped before the end", async (t) => {
  const run = await relay(t, small, noSpool);
  const reader = run.fill.follow();
  await eventually("everything is verified", () => noticesOf(run.cache, "fill").length > 0);
  run.fill.abort(new Error("this node is stopping"));
  await run.fill.done;
  await t.rejects(reader.read(0, Buffer.alloc(1)), { message: "this node is stopping" });
  await reader.close();
});

/** Ends every pause of the fill until `over`: what a clock would do. */
async function untilOver(cache: CacheFixture, over: Promise<unknown>): Promise<void> {
  let done = false;
  void over.finally(() => {
    done = true;
  });
  await eventually("the end", () => {
    if (cache.time.waiting > 0) cache.time.elapse();
    return done;
  });
}

// ---- nobody reads -----------------------------------------------------------------------------------------------

async function givenUp(t: Test, { cache, fill }: Relay): Promise<void> {
  await fill.done;
  t.ok(fill.received < bytes.length, `after ${fill.received} bytes`);
  t.same(
    noticesOf(cache, "fill").map(({ result }) => result),
    ["discarded"],
  );
  t.equal(fill.joinable, false);
  const late = fill.follow();
  await t.rejects(late.read(0, Buffer.alloc(1)), { name: "StoreError", code: "unavailable" });
  await late.close();
  await nothingLeft(t, cache);
}

t.test("a blob nobody reads and nothing stores is not downloaded to its end", async (t) => {
  const run = await relay(t, bytes, noSpool);
  await givenUp(t, run);
  t.ok(run.fill.received <= share + chunk);
});

t.test("a relay without followers ends, whether or not it was waiting for them", async (t) => {
  await t.test("waiting", async (t) => {
    const run = await relay(t, bytes, noSpool);
    const reader = run.fill.follow();
    await eventually("the fill waits", () => run.cache.time.waiting === 1);
    await reader.close();
    await givenUp(t, run);
    t.equal(run.cache.time.waiting, 0);
  });
  await t.test("going on", async (t) => {
    const run = await relay(t, bytes, noSpool);
    const reader = run.fill.follow();
    await readBytes(reader, { end: mebibyte });
    await reader.close();
    await givenUp(t, run);
    t.ok(run.fill.received <= 2 * mebibyte);
  });
  await t.test("all dropped", async (t) => {
    const run = await relay(t, bytes, noSpool);
    const readers = [run.fill.follow(), run.fill.follow()];
    await untilOver(run.cache, run.fill.done);
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
  await eventually("the fill waits", () => run.cache.time.waiting === 1);
  run.fill.abort(new Error("this node is stopping"));
  await run.fill.done;
  t.equal(run.cache.time.waiting, 0);
  await t.rejects(reader.read(0, Buffer.alloc(1)), { message: "this node is stopping" });
  await reader.close();
  await nothingLeft(t, run.cache);
});
