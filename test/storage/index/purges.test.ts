import t from "tap";
import type { Repository } from "../../../src/oci/name.ts";
import type { Purge } from "../../../src/ports/purge/purges.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";

const day = 86_400_000;
const now = 1_700_000_000_000;

function purgeAt(at: number, random = "0123456789ab"): Purge {
  const scope = { upstream: "hub", repository: "team/app" as Repository };
  return { id: `${at}-${random}`, at, scope, tag: undefined, digest: undefined, parts: [] };
}

t.test("purges stay until they are too old, and say what is still to be done", async (t) => {
  const directory = t.testdir();
  const first = openIndex({ directory, clock: () => now });
  const [old, mine, theirs] = [purgeAt(now - 14 * day), purgeAt(now - 2), purgeAt(now - 1)];
  first.purges.put(theirs, false);
  first.purges.put(old, false);
  first.purges.put(mine, true);
  first.purges.put(mine, false);
  t.same(first.purges.undone(), [old, theirs], "what is done stays done");
  t.same(
    first.purges.ids(now - 1),
    [old, mine, theirs].map(({ id }) => id),
  );
  t.same(
    first.purges.ids(now),
    [mine, theirs].map(({ id }) => id),
  );
  t.equal(first.purges.get(old.id), undefined);
  first.close();
  const second = openIndex({ directory, clock: () => now });
  t.teardown(() => second.close());
  t.strictSame(second.purges.get(theirs.id), theirs);
  t.same(second.purges.undone(), [theirs]);
  second.purges.done(theirs.id);
  t.same(second.purges.undone(), []);
});

t.test("of too many the latest are kept", async (t) => {
  const index = openIndex({ directory: t.testdir(), clock: () => now });
  t.teardown(() => index.close());
  for (let at = 0; at < 510; at++) index.purges.put(purgeAt(now + at), true);
  const ids = index.purges.ids(now);
  t.equal(ids.length, 500);
  t.equal(ids[0], purgeAt(now + 10).id);
  t.equal(index.purges.get(purgeAt(now + 9).id), undefined);
});
