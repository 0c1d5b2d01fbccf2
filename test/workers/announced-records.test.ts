// Which changes of records are told to workers, and that they are done only when the workers know.
import t from "tap";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../src/oci/name.ts";
import type { LinkStore, TagRecord, TagStore } from "../../src/ports/records.ts";
import { AnnouncedLinks, AnnouncedTags } from "../../src/workers/announced-records.ts";
import type { Forget } from "../../src/workers/grants.ts";
import { digestOf } from "../fixtures/images.ts";

const scope = { upstream: "far", repository: parseRepository("team/app") as Repository };
const tag = parseTag("1") as Tag;
const digest = (text: string) => parseDigest(digestOf(Buffer.from(text))) as Digest;

function record(text: string, checkedAt = 1): TagRecord {
  return { digest: digest(text), mediaType: "application/json", size: 1, checkedAt };
}

function memoryTags(): TagStore {
  let stored: TagRecord | undefined;
  return {
    get: async () => stored,
    put: async (_scope, _tag, record) => {
      if (stored !== undefined && stored.checkedAt > record.checkedAt) return false;
      stored = record;
      return true;
    },
    delete: async () => {
      stored = undefined;
    },
  };
}

t.test(
  "a tag that is new, moves or goes is told, one that is confirmed or was not there is not",
  async (t) => {
    const told: Forget[] = [];
    const tags = new AnnouncedTags(memoryTags(), async (forget) => void told.push(forget));
    await tags.delete(scope, tag);
    t.same(told, []);
    t.equal(await tags.put(scope, tag, record("first")), true);
    t.same(told, [scope], "its digest may be denied under this name");
    await tags.put(scope, tag, record("first", 2));
    t.same(told, [scope]);
    await tags.put(scope, tag, record("second", 3));
    t.same(told, [scope, scope]);
    t.equal(await tags.put(scope, tag, record("first", 1)), false);
    t.same(told, [scope, scope], "nothing was written");
    await tags.delete(scope, tag);
    t.same(told, [scope, scope, scope]);
    t.equal(await tags.get(scope, tag), undefined);
  },
);

t.test("a change is done when the workers have acknowledged it, and they are told after it", async (t) => {
  const acknowledged = Promise.withResolvers<void>();
  const store = memoryTags();
  await store.put(scope, tag, record("first"));
  let then: TagRecord | undefined;
  const tags = new AnnouncedTags(store, async () => {
    then = await store.get(scope, tag);
    await acknowledged.promise;
  });
  let done = false;
  const change = tags.put(scope, tag, record("second", 2)).then(() => {
    done = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(done, false);
  t.match(then, { digest: digest("second") });
  acknowledged.resolve();
  await change;
});

t.test(
  "a link that ends is told, to all that the upstream has; one that is added or was not there is not",
  async (t) => {
    const told: Forget[] = [];
    const asked: string[] = [];
    let known = false;
    const store: LinkStore = {
      has: async () => asked.push("has") > 0,
      named: async () => asked.push("named") > 0 && known,
      add: async () => void asked.push("add"),
      remove: async () => void asked.push("remove"),
      removeAll: async () => asked.push("removeAll") > 0,
      statedSize: async () => asked.push("statedSize"),
    };
    const links = new AnnouncedLinks(store, async (forget) => void told.push(forget));
    await links.has(scope, digest("a"));
    await links.named(scope, digest("a"));
    await links.add(scope, []);
    await links.statedSize(scope, digest("a"));
    await links.remove(scope, digest("a"));
    t.same(told, []);
    known = true;
    await links.remove(scope, digest("a"));
    t.same(told, [{ upstream: "far" }]);
    t.same(asked, ["has", "named", "add", "statedSize", "named", "remove", "named", "remove"]);
    await links.removeAll(scope, [digest("a")]);
    t.same(told, [{ upstream: "far" }, { upstream: "far" }]);
  },
);
