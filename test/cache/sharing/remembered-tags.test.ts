import t, { type Test } from "tap";
import { RememberedTags } from "../../../src/cache/sharing/remembered.ts";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import type { TagRecord, TagStore } from "../../../src/ports/records.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { tagStoreSuite } from "../../fixtures/tag-store-suite.ts";

const app: Scope = { upstream: "hub", repository: "team/app" as Repository };
const latest = "latest" as Tag;

function record(content: string, checkedAt: number): TagRecord {
  return { digest: digestOf(Buffer.from(content)), mediaType: "application/json", size: 1, checkedAt };
}

function storeOf(t: Test): TagStore {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  return index.tags;
}

t.test("the suite of every TagStore", (t) => tagStoreSuite(t, async (t) => new RememberedTags(storeOf(t))));

t.test("a record is read once", async (t) => {
  const store = storeOf(t);
  let reads = 0;
  const counting: TagStore = {
    get: (...tag) => {
      reads += 1;
      return store.get(...tag);
    },
    put: (...tag) => store.put(...tag),
    delete: (...tag) => store.delete(...tag),
  };
  const tags = new RememberedTags(counting);
  await tags.get(app, latest);
  await tags.get(app, latest);
  t.equal(reads, 2, "one that is missing each time");
  await tags.put(app, latest, record("one", 1));
  for (let i = 0; i < 3; i++) t.same(await tags.get(app, latest), record("one", 1));
  t.equal(reads, 3);
  await tags.put(app, latest, record("two", 2));
  t.same(await tags.get(app, latest), record("two", 2));
  t.equal(reads, 4);
});

t.test("what was read while the record changed is not remembered", async (t) => {
  const store = storeOf(t);
  await store.put(app, latest, record("one", 1));
  const slow = Promise.withResolvers<void>();
  const tags = new RememberedTags({
    get: async (...tag) => {
      const before = await store.get(...tag);
      await slow.promise;
      return before;
    },
    put: (...tag) => store.put(...tag),
    delete: (...tag) => store.delete(...tag),
  });
  const reading = tags.get(app, latest);
  await tags.put(app, latest, record("two", 2));
  slow.resolve();
  t.same(await reading, record("one", 1), "it was so when it was asked for");
  t.same(await tags.get(app, latest), record("two", 2));
});
