import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import { maxStaysOfTag } from "../../../src/ports/history/tag-history.ts";
import { Layout } from "../../../src/storage/disk/layout.ts";
import { Database } from "../../../src/storage/index/database.ts";
import { Repositories } from "../../../src/storage/index/repositories.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { SqliteTagHistory } from "../../../src/storage/index/tag-history.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

const app = { upstream: "hub", repository: "team/app" as Repository };
const latest = "latest" as Tag;
const [a, b, c] = ["a", "b", "c"].map((text) => digestOf(Buffer.from(text))) as [Digest, Digest, Digest];

function open(t: Test, max?: number) {
  const database = new Database(new Layout(t.testdir()), undefined);
  t.teardown(() => database.close());
  return new SqliteTagHistory(database, new Repositories(database), max);
}

const word = (digest: Digest, at: number, by?: string) => ({ digest, at, by });

t.test("a tag's digests follow each other; the same word again changes nothing", async (t) => {
  const history = open(t);
  t.equal(await history.named(app, latest, word(a, 1, "ann")), undefined, "a first sight is no move");
  t.equal(await history.named(app, latest, word(a, 2, "bob")), undefined);
  t.equal(await history.named(app, latest, word(b, 3)), a);
  t.equal(await history.named(app, latest, word(a, 4, "ann")), b, "and back");
  t.strictSame(history.of(app, latest), [
    { digest: a, firstSeen: 1, by: "ann", end: { at: 3, why: "moved" } },
    { digest: b, firstSeen: 3, by: undefined, end: { at: 4, why: "moved" } },
    { digest: a, firstSeen: 4, by: "ann", end: undefined },
  ]);
  t.same(history.of({ ...app, upstream: "other" }, latest), []);
  t.same(history.of(app, "1.0" as Tag), []);
});

t.test("a tag that was deleted has not moved when it comes back", async (t) => {
  const history = open(t);
  await history.gone(app, latest, 1);
  t.same(history.of(app, latest), [], "one that was never seen has no history");
  await history.named(app, latest, word(a, 1));
  await history.gone(app, latest, 2);
  await history.gone(app, latest, 3);
  t.equal(await history.named(app, latest, word(b, 4)), undefined);
  t.match(history.of(app, latest), [
    { digest: a, end: { at: 2, why: "deleted" } },
    { digest: b, firstSeen: 4, end: undefined },
  ]);
  t.same(history.movedSince(0, 10), []);
});

t.test("what another node's record said before is where the history begins", async (t) => {
  const history = open(t);
  t.equal(await history.named(app, latest, word(b, 5, "ann"), { digest: a, at: 2 }), a);
  t.strictSame(history.of(app, latest), [
    { digest: a, firstSeen: 2, by: undefined, end: { at: 5, why: "moved" } },
    { digest: b, firstSeen: 5, by: "ann", end: undefined },
  ]);
  t.equal(
    await history.named(app, latest, word(c, 6), { digest: a, at: 2 }),
    b,
    "what was seen later counts more",
  );
  await history.gone(app, "1.0" as Tag, 9, { digest: a, at: 7 });
  t.match(history.of(app, "1.0" as Tag), [{ digest: a, firstSeen: 7, end: { at: 9, why: "deleted" } }]);
});

t.test("what has moved lately, the last one first", async (t) => {
  const history = open(t);
  for (const [at, tag] of ["one", "two", "three"].entries()) {
    await history.named(app, tag as Tag, word(a, at));
    await history.named(app, tag as Tag, word(b, 100 + at, tag));
  }
  const move = { ...app, from: a, to: b };
  t.strictSame(history.movedSince(101, 10), [
    { ...move, tag: "three", at: 102, by: "three" },
    { ...move, tag: "two", at: 101, by: "two" },
  ]);
  t.equal(history.movedSince(0, 2).length, 2);
});

t.test("bounds: of a tag, of all tags, in time", async (t) => {
  const history = open(t, 10);
  const digests = Array.from({ length: maxStaysOfTag + 5 }, (_, at) => digestOf(Buffer.from(`digest ${at}`)));
  const many = open(t);
  for (const [at, digest] of digests.entries()) await many.named(app, latest, word(digest, at));
  const kept = many.of(app, latest);
  t.equal(kept.length, maxStaysOfTag);
  t.equal(kept.at(-1)?.digest, digests.at(-1), "the last ones");
  many.prune(50);
  t.equal(many.of(app, latest)[0]?.end?.at, 50, "what ended before is gone, what has not ended stays");

  await history.named(app, latest, word(a, 1));
  await history.named(app, latest, word(b, 2));
  for (let at = 0; at < 20; at++) await history.named(app, `tag${at}` as Tag, word(a, 10 + at));
  t.equal(history.of(app, latest).length, 2, "tags that never moved push out no move");
  t.equal(history.movedSince(0, 10).length, 1);
  t.same(history.of(app, "tag0" as Tag), [], "they go, the first one first");
  t.equal(history.of(app, "tag19" as Tag).length, 1);
  const moving = open(t, 10);
  for (let at = 0; at < 12; at++) {
    await moving.named(app, `tag${at}` as Tag, word(a, at));
    await moving.named(app, `tag${at}` as Tag, word(b, at));
  }
  t.same(
    ["tag0", "tag11"].map((tag) => moving.of(app, tag as Tag).map(({ digest }) => digest)),
    [[], [a, b]],
    "of moves the oldest go",
  );
});

t.test("what another node has seen meanwhile is in the record: a rollback is a move", async (t) => {
  const history = open(t);
  await history.named(app, latest, word(a, 1));
  t.equal(await history.named(app, latest, word(a, 20), { digest: b, at: 10 }), b);
  t.match(history.of(app, latest), [
    { digest: a, firstSeen: 1, end: { at: 10, why: "moved" } },
    { digest: b, firstSeen: 10, end: { at: 20, why: "moved" } },
    { digest: a, firstSeen: 20, end: undefined },
  ]);
  t.equal(
    await history.named(app, latest, word(c, 40), { digest: b, at: 30 }),
    b,
    "not what was seen here last",
  );
});

t.test("the same word again without a record is noted, once a minute", async (t) => {
  const history = open(t);
  await history.named(app, latest, word(a, 1_000));
  await history.named(app, latest, word(a, 60_999));
  t.equal(history.of(app, latest)[0]?.lastSeen, undefined);
  await history.named(app, latest, word(a, 61_000));
  t.equal(history.of(app, latest)[0]?.lastSeen, 61_000);
});

t.test("a later start goes on where it was", async (t) => {
  const directory = t.testdir();
  const first = openIndex({ directory, clock: Date.now });
  await first.history.named(app, latest, word(a, 1, "ann"));
  first.close();
  const second = openIndex({ directory, clock: Date.now });
  t.teardown(() => second.close());
  t.equal(await second.history.named(app, latest, word(b, 2)), a);
});
