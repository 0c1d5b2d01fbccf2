// Which tags are asked for regularly, and when each is looked at.
import t from "tap";
import { RegularTags } from "../../../src/cache/refresh/regular-tags.ts";
import type { TagRecord } from "../../../src/ports/records.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { repo, sha256, tagOf } from "../../fixtures/memory-upstream.ts";

const scope = { upstream: "up", repository: repo("team/app") };
const tag = tagOf("1.0");
const ttl = 60_000;
const digest = sha256(Buffer.from("a"));

function setUp(random?: () => number) {
  const clock = new ManualClock();
  const regular = new RegularTags({
    clock: clock.read,
    steady: clock.read,
    ...(random === undefined ? {} : { random }),
  });
  const record = (age = 0): TagRecord => ({
    digest,
    mediaType: "a/b",
    size: 1,
    checkedAt: clock.now - age,
  });
  /** Milliseconds until each tag that is due is looked at, looking `every` so many for `length`. */
  const looked = (every: number, length: number): number[] => {
    const start = clock.now;
    const found: number[] = [];
    while (clock.now - start <= length) {
      for (const _ of regular.due()) found.push(clock.now - start);
      clock.advance(every);
    }
    return found;
  };
  return { clock, regular, record, looked };
}

t.test("a tag is looked at once, in the last seconds before it expires", async (t) => {
  for (const random of [0, 0.5, 0.999_999]) {
    const { regular, record, looked } = setUp(() => random);
    regular.confirmed(scope, tag, record(), ttl, undefined);
    const [at, ...more] = looked(250, 2 * ttl);
    t.strictSame(more, []);
    t.ok(at !== undefined && at >= ttl - 1_500 - 3_600 - 250 && at <= ttl - 1_500, `${at}`);
  }
});

t.test("tags that were learned in one second are not looked at in one second", async (t) => {
  let drawn = 0;
  const { regular, record, looked } = setUp(() => ((drawn++ * 617) % 1_000) / 1_000);
  for (let i = 0; i < 1_000; i++) regular.confirmed(scope, tagOf(`v${i}`), record(), ttl, undefined);
  const seconds = new Map<number, number>();
  const all = looked(250, ttl);
  for (const at of all) seconds.set(Math.floor(at / 1_000), (seconds.get(Math.floor(at / 1_000)) ?? 0) + 1);
  t.equal(all.length, 1_000, "each before it expires");
  t.ok(Math.max(...seconds.values()) <= 300, JSON.stringify([...seconds]));
});

t.test("what expires never, at once, or soon for whoever is asked is not looked at", async (t) => {
  const { regular, record, looked } = setUp();
  regular.confirmed(scope, tagOf("never"), record(), Number.POSITIVE_INFINITY, undefined);
  regular.confirmed(scope, tagOf("at-once"), record(), 0, undefined);
  regular.confirmed(scope, tagOf("short"), record(), 9_999, undefined);
  regular.confirmed(scope, tagOf("old"), record(50_001), ttl, undefined);
  t.strictSame(looked(250, 2 * ttl), []);
  regular.confirmed(scope, tagOf("younger"), record(50_000), ttl, undefined);
  t.equal(looked(250, 10_000).length, 1, "an upstream that is a cache said how old its answer was");
  t.equal(regular.size, 2);
});

t.test("a record that is confirmed again is looked at by its new time", async (t) => {
  const { clock, regular, record, looked } = setUp(() => 0);
  regular.confirmed(scope, tag, record(), ttl, undefined);
  clock.advance(30_000);
  regular.confirmed(scope, tag, record(), ttl, undefined);
  t.strictSame(looked(250, ttl), [ttl - 1_500]);
});

t.test(
  "a tag is regular with a request in each of three times to live, until none comes for one and a quarter",
  async (t) => {
    const { clock, regular, record } = setUp();
    regular.confirmed(scope, tag, record(), ttl, undefined);
    const [watched] = (() => {
      clock.advance(ttl);
      return regular.due();
    })();
    if (watched === undefined) throw new Error("not due");
    t.notOk(regular.isRegular(watched), "nobody has asked");
    regular.asked(scope, tag);
    for (const step of [1, 2]) {
      clock.advance(ttl);
      regular.asked(scope, tag);
      t.equal(regular.isRegular(watched), step === 2, `${step}`);
    }
    clock.advance(1.25 * ttl);
    t.ok(regular.isRegular(watched));
    clock.advance(1);
    t.notOk(regular.isRegular(watched), "nobody asks any more");
    regular.asked(scope, tag);
    t.notOk(regular.isRegular(watched), "it begins anew");
    clock.advance(ttl);
    regular.asked(scope, tag);
    clock.advance(ttl);
    t.ok(regular.isRegular(watched));
    clock.advance(-10 * ttl);
    t.notOk(regular.isRegular(watched), "the clock was set back: nothing is known");
  },
);

t.test("requests are also those noted on the record before", async (t) => {
  const { clock, regular, record } = setUp();
  regular.confirmed(scope, tag, record(), ttl, undefined);
  const at = clock.now;
  clock.advance(2 * ttl);
  regular.confirmed(scope, tag, record(), ttl, { ...record(), askedAt: at });
  clock.advance(ttl);
  const [watched] = regular.due();
  t.match(watched, { first: at, last: at });
});

t.test("at most 10,000 tags are watched: the one upstream was asked about longest ago goes", async (t) => {
  const { clock, regular, record } = setUp();
  for (let i = 0; i <= 10_000; i++) regular.confirmed(scope, tagOf(`v${i}`), record(), ttl, undefined);
  t.equal(regular.size, 10_000);
  clock.advance(ttl);
  const due = regular.due();
  t.equal(due.length, 10_000);
  t.notOk(due.some(({ tag: name }) => name === "v0"));
  regular.forget({ scope, tag: tagOf("v1") });
  t.equal(regular.size, 9_999);
});
