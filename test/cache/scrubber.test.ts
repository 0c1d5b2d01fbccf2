// The scrubber: the longest unchecked first, within a rate, giving way, and not for ever at what cannot be helped.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { findingsInRow } from "../../src/cache/blob-checks.ts";
import { Scrubber, type ScrubberOptions } from "../../src/cache/scrubber.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { type House, noticesOf, openHouse, overwriteBlob, storeBlob } from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";
import { sha256 } from "../fixtures/memory-upstream.ts";

const step = 128 * 1024;
const hour = 3_600_000;

interface Scrubbing {
  readonly scrubber: Scrubber;
  /** Pauses of the scrubber itself; those within a blob are the house's. */
  readonly rests: ManualPause;
}

function scrub(t: Test, house: House, options: Partial<ScrubberOptions> = {}): Scrubbing {
  const rests = new ManualPause();
  rests.instant = () => false;
  const scrubber = new Scrubber({
    interval: hour,
    index: house.index.blobs,
    checks: house.local.checks,
    busy: () => false,
    notices: (notice) => house.notices.push(notice),
    clock: house.clock.read,
    pause: rests.pause,
    ...options,
  });
  house.time.instant = () => true;
  t.teardown(() => scrubber.stop());
  scrubber.start();
  return { scrubber, rests };
}

async function store(house: House, name: string, size = 1000): Promise<Digest> {
  const bytes = randomBytesFor(name, size);
  await storeBlob(house, bytes, sha256(bytes));
  return sha256(bytes);
}

const resting = ({ rests }: Scrubbing) => eventually("it rests", () => rests.waiting === 1);
const checked = (house: House) => noticesOf(house, "blob_check").map(({ digest }) => digest);

t.test("the longest unchecked first, each when it is due, and a notice when all of it is done", async (t) => {
  const house = await openHouse(t);
  const first = await store(house, "first");
  house.clock.advance(hour / 2);
  const second = await store(house, "second");
  const never = await store(house, "never");
  house.index.blobs.remove(never);
  house.index.blobs.add(never, 1000, undefined, house.clock.now);
  const scrubbing = scrub(t, house);
  t.equal(scrubbing.scrubber.oldestCheck, 0, "one that never was");
  await resting(scrubbing);
  t.same(checked(house), [never]);
  t.same(noticesOf(house, "scrubbed"), [
    { kind: "scrubbed", blobs: 1, bytes: 1000, wrong: 0, durationMs: 0 },
  ]);
  house.clock.advance(hour / 2);
  scrubbing.rests.elapse();
  await resting(scrubbing);
  t.same(checked(house), [never, first]);
  t.equal(scrubbing.scrubber.oldestCheck, house.clock.now - hour / 2);
  t.same(
    scrubbing.rests.asked,
    [60_000, 60_000],
    "it searches again each minute, for what is found meanwhile",
  );
  house.clock.advance(hour / 2 - 100);
  scrubbing.rests.elapse();
  await eventually("it rests again", () => scrubbing.rests.asked.length === 3);
  t.equal(scrubbing.rests.asked[2], 100, "or when the next is due");
  house.clock.advance(100);
  scrubbing.rests.elapse();
  await eventually("it has checked", () => checked(house).length >= 4);
  t.same(checked(house).slice(2).sort(), [never, second].sort());
});

t.test("a changed blob is found, small and large, manifest and layer", async (t) => {
  const house = await openHouse(t);
  const digests = [await store(house, "small", 5), await store(house, "large", 3 * step)];
  for (const each of digests) await overwriteBlob(house, each, Buffer.from("other"));
  house.clock.advance(hour);
  const scrubbing = scrub(t, house);
  await resting(scrubbing);
  t.same((await readdir(join(house.directory, "quarantine"))).length, 2);
  t.match(noticesOf(house, "bit_rot"), [{ by: "scrub" }, { by: "scrub" }]);
  t.match(noticesOf(house, "scrubbed"), [{ blobs: 2, wrong: 2 }]);
  t.equal(scrubbing.scrubber.oldestCheck, undefined);
});

t.test(
  "the rate: what the interval needs twice over, within bounds, and less while clients need the node",
  async (t) => {
    const ofStep = (bytesPerSecond: number) => (step * 1000) / bytesPerSecond;
    const mebibyte = 1024 * 1024;
    for (const [interval, busy, rate] of [
      [hour, false, 8 * mebibyte],
      [hour, true, mebibyte / 4],
      [10, false, 64 * mebibyte],
      [10, true, (4 * step * 1000) / 10],
      [1, true, 64 * mebibyte],
    ] as const)
      await t.test(`${interval} ms, ${busy ? "busy" : "idle"}`, async (t) => {
        const house = await openHouse(t);
        await store(house, "large", 4 * step);
        house.clock.advance(hour);
        await resting(scrub(t, house, { interval, busy: () => busy }));
        t.same(house.time.asked, Array(4).fill(ofStep(rate)));
      });
  },
);

t.test("a stop ends a check in the middle", async (t) => {
  const house = await openHouse(t);
  await store(house, "large", 4 * step);
  house.clock.advance(hour);
  const scrubbing = scrub(t, house);
  house.time.instant = () => false;
  await eventually("it is under way", () => house.time.waiting === 1);
  const stopped = scrubbing.scrubber.stop();
  house.time.elapse();
  await stopped;
  t.equal(house.time.asked.length, 1);
  t.same(checked(house), []);
  t.equal(house.store.count("close"), house.store.count("open"));
});

t.test("what cannot be read does not keep it from the others", async (t) => {
  const house = await openHouse(t);
  const bad = await store(house, "bad");
  house.clock.advance(1);
  const good = await store(house, "good");
  house.clock.advance(hour);
  house.store.faults.set("open", (operation) => {
    if (operation.digest === bad) failing("unavailable")(operation);
  });
  const scrubbing = scrub(t, house);
  await resting(scrubbing);
  t.same(checked(house), [good]);
  house.store.faults.clear();
  scrubbing.rests.elapse();
  await eventually("it is tried again", () => checked(house).length === 2);
});

t.test("a time far in the future is none", async (t) => {
  const house = await openHouse(t);
  const digest = await store(house, "ahead");
  house.index.blobs.checked(digest, house.clock.now + 365 * 24 * hour);
  await resting(scrub(t, house));
  t.same(checked(house), [digest]);
});

t.test(
  "while the disk is at fault it checks one after the other now and then, until they read right",
  async (t) => {
    const house = await openHouse(t);
    const digests: Digest[] = [];
    for (let at = 0; at < findingsInRow + 2; at++) digests.push(await store(house, `blob ${at}`));
    house.clock.advance(hour);
    const { open } = house.store;
    let broken = true;
    house.store.open = async (asked) => {
      const blob = await open.call(house.store, asked);
      if (blob === undefined || !broken) return blob;
      return { ...blob, read: async (_at, scratch) => scratch.fill(0) };
    };
    const scrubbing = scrub(t, house);
    await resting(scrubbing);
    t.equal(house.local.checks.alarm, true);
    t.equal((await readdir(join(house.directory, "quarantine"))).length, findingsInRow - 1);
    for (let checks = 1; checks <= 4; checks++) {
      scrubbing.rests.elapse();
      await eventually("it rests", () => scrubbing.rests.asked.length === checks + 1);
    }
    t.same(scrubbing.rests.asked, Array(5).fill(60_000));
    t.equal((await readdir(join(house.directory, "quarantine"))).length, findingsInRow - 1);
    broken = false;
    for (let checks = 1; house.local.checks.alarm && checks < 50; checks++) {
      scrubbing.rests.elapse();
      await eventually("it rests", () => scrubbing.rests.waiting === 1);
    }
    t.equal(house.local.checks.alarm, false);
  },
);
