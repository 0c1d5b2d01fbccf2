// Which request a broken transfer makes for the rest: as a client while one reads, else behind those of clients.
import t, { type Test } from "tap";
import type { OpenFrom } from "../../../src/cache/fill/transfer.ts";
import type { Yielding } from "../../../src/ports/upstream.ts";
import { mebibyte, nothingLeft, openCache, readAll, startFill } from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate } from "../../fixtures/manual-time.ts";
import { repo } from "../../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", mebibyte);
const cutAt = 300_000;
const app = repo("team/app");

/** A fill whose first transfer breaks when `broken` opens; `opens` says how the bytes were asked for. */
async function startBroken(t: Test, around: (open: OpenFrom) => OpenFrom = (open) => open) {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob(app, bytes);
  const broken = gate();
  cache.upstream.transfers.push({ hold: { at: cutAt, until: broken.opened }, cutAt });
  const opens: string[] = [];
  const yielding: Yielding[] = [];
  const open = around((from, signal) => cache.upstream.openBlob(app, digest, from, signal));
  const fill = startFill(cache, digest, {
    open: (from, signal, { attended, yields }) => {
      opens.push(`${from} for ${attended ? "a client" : "nobody"}`);
      yielding.push(yields);
      return open(from, signal, attended);
    },
  });
  await fill.head;
  return { cache, fill, broken, opens, yielding };
}

t.test("as a client while one reads", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t);
  const reading = readAll(fill.follow());
  broken.open();
  t.ok((await reading).equals(bytes));
  await fill.done;
  t.same(opens, ["0 for a client", `${cutAt} for a client`]);
  await nothingLeft(t, cache);
});

t.test("for nobody while none reads, or none any more", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t);
  await fill.follow().close();
  broken.open();
  await fill.done;
  t.same(opens, ["0 for a client", `${cutAt} for nobody`]);
  await nothingLeft(t, cache);
});

t.test("a client that comes before the answer is given what that brings: nothing comes twice", async (t) => {
  const answered = gate();
  const { cache, fill, broken, opens, yielding } = await startBroken(
    t,
    (open) => async (from, signal, attended) => {
      const answer = await open(from, signal, attended);
      if (from > 0) await answered.opened;
      return answer;
    },
  );
  await fill.follow().close();
  broken.open();
  await eventually("the rest is asked for", () => opens.length === 2);
  const [, rest] = yielding;
  t.equal(rest?.unattended, true, "it waits behind the requests of clients");
  let changed = 0;
  const stopListening = rest?.onChange(() => changed++);
  const reading = readAll(fill.follow());
  t.same(
    [rest?.unattended, changed],
    [false, 1],
    "it is a client's from now on, and whoever lets it wait is told",
  );
  stopListening?.();
  answered.open();
  t.ok((await reading).equals(bytes));
  await fill.done;
  t.same(opens, ["0 for a client", `${cutAt} for nobody`]);
  t.equal(cache.upstream.bytesSent, bytes.length);
  await nothingLeft(t, cache);
});

t.test("a fill that is ended while it waits is not taken up", async (t) => {
  const { cache, fill, broken, opens } = await startBroken(t, (open) => async (from, signal, attended) => {
    if (attended) return open(from, signal, attended);
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
