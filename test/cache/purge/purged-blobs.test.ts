import t from "tap";
import { PurgedBlobs } from "../../../src/cache/purge/purged-blobs.ts";
import { digestOf } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const [a, b] = [digestOf(Buffer.from("a")), digestOf(Buffer.from("b"))];

t.test("what was asked for before a purge is known from what was asked for after it", async (t) => {
  const purged = new PurgedBlobs(new ManualClock().read);
  const before = purged.count;
  t.equal(purged.hasSince(a, before), false);
  purged.add([a]);
  t.equal(purged.hasSince(a, before), true);
  t.equal(purged.hasSince(b, before), false);
  t.equal(purged.hasSince(a, purged.count), false);
});

t.test("of a purge of more than is remembered all is known, too", async (t) => {
  const clock = new ManualClock();
  const purged = new PurgedBlobs(clock.read);
  const many = Array.from({ length: 20_000 }, (_, at) => digestOf(Buffer.from(String(at))));
  const [first] = many as [(typeof many)[0]];
  const before = purged.count;
  purged.add(many);
  t.equal(purged.hasSince(first, before), true);
  t.equal(purged.hasJust(first), true);
  t.equal(purged.hasSince(first, purged.count), false);
  purged.add([a]);
  t.equal(purged.hasSince(b, purged.count - 1), false, "others are not taken for it");
  clock.advance(10_000);
  t.equal(purged.hasJust(first), false);
});

t.test("for ten seconds upstream alone is asked", async (t) => {
  const clock = new ManualClock();
  const purged = new PurgedBlobs(clock.read);
  t.equal(purged.hasJust(a), false);
  purged.add([a]);
  t.equal(purged.hasJust(a), true);
  t.equal(purged.hasJust(b), false);
  clock.advance(9_999);
  t.equal(purged.hasJust(a), true);
  clock.advance(1);
  t.equal(purged.hasJust(a), false);
});
