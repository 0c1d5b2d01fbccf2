// Which request a broken transfer makes for the rest: as a client while one reads, else in the background.
import t, { type Test } from "tap";
import type { OpenFrom } from "../../../src/cache/fill/transfer.ts";
import { mebibyte, nothingLeft, openCache, readAll, startFill } from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate } from "../../fixtures/manual-time.ts";
import { repo } from "../../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", mebibyte);
const cutAt = 300_000;
const app = repo("team/app");

/** A fill whose first transfer breaks when `broken` opens; `opens` says how upstream was asked. */
async function startBroken(t: Test, around: (open: OpenFrom) => OpenFrom = (open) => open) {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob(app, bytes);
  const broken = gate();
  cache.upstream.transfers.push({ hold: { at: cutAt, until: broken.opened }, cutAt });
  const opens: string[] = [];
  const open = around((from, signal, use) => cache.upstream.openBlob(app, digest, from, signal, { use }));
  const fill = startFill(cache, digest, {
    open: (from, signal, { use }) => {
      opens.push(`${from} ${use ?? "transfer"}`);
      return open(from, signal, use);
    },
  });
  await fill.head;
  return { cache, fill, broken, opens };
}

t.test("as a client while one reads", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t);
  const reading = readAll(fill.follow());
  broken.open();
  t.ok((await reading).equals(bytes));
  await fill.done;
  t.same(opens, ["0 transfer", `${cutAt} transfer`]);
  await nothingLeft(t, cache);
});

t.test("in the background while none reads, or none any more", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t);
  await fill.follow().close();
  broken.open();
  await fill.done;
  t.same(opens, ["0 transfer", `${cutAt} background`]);
  await nothingLeft(t, cache);
});

t.test("a client that comes while the background request is queued makes it a client's", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t, (open) => async (from, signal, use) => {
    if (use === undefined) return open(from, signal);
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    throw new Error("aborted");
  });
  broken.open();
  await eventually("the rest is asked for", () => opens.length === 2);
  t.ok((await readAll(fill.follow())).equals(bytes));
  await fill.done;
  t.same(opens, ["0 transfer", `${cutAt} background`, `${cutAt} transfer`]);
  await nothingLeft(t, cache);
});

t.test("one that comes at the very moment of the answer breaks nothing", async (t) => {
  let follow = () => {};
  const { cache, fill, broken, opens } = await startBroken(t, (open) => async (from, signal, use) => {
    const answer = await open(from, signal, use);
    if (use === "background") follow();
    return answer;
  });
  const reading = Promise.withResolvers<Buffer>();
  follow = () => reading.resolve(readAll(fill.follow()));
  broken.open();
  t.ok((await reading.promise).equals(bytes));
  await fill.done;
  t.same(opens, ["0 transfer", `${cutAt} background`, `${cutAt} transfer`]);
  await nothingLeft(t, cache);
});

t.test("a fill that is ended while it waits is not taken up", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t, (open) => async (from, signal, use) => {
    if (use === undefined) return open(from, signal);
    return await new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason)),
    );
  });
  broken.open();
  await eventually("the rest is asked for", () => opens.length === 2);
  fill.abort(new Error("this node is stopping"));
  await fill.done;
  t.equal(opens.length, 2);
  await nothingLeft(t, cache);
});
