import t from "tap";
import { SharedTags } from "../../../src/cache/sharing/shared-tags.ts";
import type { Tag } from "../../../src/oci/name.ts";
import { recordAge } from "../../../src/ports/clock.ts";
import type { Notice } from "../../../src/ports/event.ts";
import type { TagRecord } from "../../../src/ports/records.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { gate, ManualClock } from "../../fixtures/manual-time.ts";
import { type MemoryNode, MemoryShared, MemoryTags } from "../../fixtures/memory-shared.ts";
import { repo } from "../../fixtures/memory-upstream.ts";
import { tagStoreSuite } from "../../fixtures/tag-store-suite.ts";

const app: Scope = { upstream: "hub", repository: repo("team/app") };
const latest = "latest" as Tag;
const tagNews = { kind: "tag", scope: app, tag: latest } as const;

/** Checked `age` ms before the clock of the datacenter began. */
function record(content: string, age: number): TagRecord {
  const checkedAt = new ManualClock().now - age;
  return {
    digest: digestOf(Buffer.from(content)),
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    size: 7,
    checkedAt,
  };
}

class Datacenter {
  readonly shared = new MemoryShared();
  readonly clock = new ManualClock();
  usable = true;

  node(): SharingNode {
    return new SharingNode(this);
  }
}

class SharingNode {
  readonly node: MemoryNode;
  readonly local = new MemoryTags();
  readonly notices: Notice[] = [];
  readonly tags: SharedTags;

  constructor(datacenter: Datacenter) {
    this.node = datacenter.shared.node();
    this.tags = new SharedTags({
      local: this.local,
      shared: datacenter.shared.tags,
      usable: () => datacenter.usable,
      announcements: this.node.announcements,
      notices: (notice) => this.notices.push(notice),
      clock: datacenter.clock.read,
      steady: datacenter.clock.read,
    });
  }

  get(): Promise<TagRecord | undefined> {
    return this.tags.get(app, latest);
  }

  put(record: TagRecord): Promise<boolean> {
    return this.tags.put(app, latest, record);
  }

  delete(): Promise<void> {
    return this.tags.delete(app, latest);
  }

  get here(): Promise<TagRecord | undefined> {
    return this.local.get(app, latest);
  }
}

t.test("the suite of every TagStore", (t) => tagStoreSuite(t, async () => new Datacenter().node().tags));

t.test("what one node has, every node has; it is looked up once in 5 s", async (t) => {
  const datacenter = new Datacenter();
  const { tags } = datacenter.shared;
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  t.strictSame(await second.get(), record("a", 50));
  t.strictSame(await second.here, record("a", 50), "copied");
  const lookups = tags.gets;
  for (let i = 0; i < 100; i++) await second.get();
  for (let i = 0; i < 100; i++) await first.get();
  t.equal(tags.gets, lookups, "neither reader nor writer looks it up again");
  datacenter.clock.advance(5_001);
  await second.get();
  await second.get();
  t.equal(tags.gets, lookups + 1);
  t.equal(tags.puts, 1, "nothing was written for a lookup");
});

t.test("requests of the same time share a lookup", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  const lookups = datacenter.shared.tags.gets;
  const answers = await Promise.all(Array.from({ length: 20 }, () => second.get()));
  t.ok(answers.every((answer) => answer?.digest === record("a", 0).digest));
  t.equal(datacenter.shared.tags.gets, lookups + 1);
});

t.test("the later record is the one that counts", async (t) => {
  const datacenter = new Datacenter();
  const node = datacenter.node();
  await node.local.put(app, latest, record("mine", 10));
  await datacenter.shared.tags.put(app, latest, record("older", 20));
  t.strictSame(await node.get(), record("mine", 10));
  await datacenter.shared.tags.put(app, latest, record("later", 5));
  datacenter.clock.advance(5_001);
  t.strictSame(await node.get(), record("later", 5));
  t.equal(await node.put(record("between", 7)), false, "refused here");
  await datacenter.shared.tags.put(app, latest, record("latest", 1));
  t.equal(await node.put(record("later again", 3)), false, "refused there");
  t.strictSame(await node.here, record("latest", 1), "and brought here");
});

t.test("a change is announced, and a confirmation as such", async (t) => {
  const datacenter = new Datacenter();
  const node = datacenter.node();
  const { published } = node.node.announcements;
  await node.put(record("a", 50));
  t.strictSame(published, [tagNews], "a new record");
  await node.put(record("a", 40));
  t.strictSame(published.splice(0), [tagNews, { ...tagNews, kind: "confirmed" }], "the same digest");
  await node.put(record("b", 30));
  t.strictSame(published.splice(0), [tagNews], "another digest");
  await node.delete();
  t.strictSame(published, [tagNews], "none at all");
});

t.test("what another node has confirmed counts for the next request", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  t.strictSame(await second.get(), record("a", 50));
  await first.put(record("a", 10));
  t.strictSame(await second.get(), record("a", 10), "at once, not after 5 s");
});

t.test("another node's change counts for the next request", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("old", 50));
  t.strictSame(await second.get(), record("old", 50));
  await first.put(record("new", 40));
  t.strictSame(await second.get(), record("new", 40), "at once, not after 5 s");
  await first.delete();
  t.equal(await second.get(), undefined);
  t.equal(await second.here, undefined, "deleted here too");
});

t.test("an announced record counts even when it is from before ours", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("old", 50));
  await second.get();
  await second.put(record("old", 10));
  // A write that may or may not have happened: the record is put back as one that has to be confirmed.
  await first.delete();
  await first.put(record("old", 70_000));
  t.strictSame(await second.get(), record("old", 70_000));
});

t.test("an emptied Redis takes nothing away", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  await second.get();
  datacenter.shared.tags.records.clear();
  datacenter.clock.advance(5_001);
  t.strictSame(await second.get(), record("a", 50));
  datacenter.shared.interrupt();
  t.strictSame(await second.get(), record("a", 50), "nor does a broken connection");
});

t.test("what may have been missed is looked up again", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  await second.get();
  datacenter.shared.nodes.delete(second.node);
  await first.put(record("b", 40));
  t.strictSame(await second.get(), record("a", 50), "not heard of");
  second.node.announcements.missed();
  t.strictSame(await second.get(), record("b", 40));
});

t.test("a change announced during a lookup makes the next request look up again", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  const slow = gate();
  datacenter.shared.tags.gate = slow.opened;
  const early = second.get();
  await first.put(record("b", 40));
  datacenter.shared.tags.gate = undefined;
  slow.open();
  await early;
  t.strictSame(await second.get(), record("b", 40));
});

t.test("what is missed during a lookup makes the next request look up again", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("a", 50));
  datacenter.shared.nodes.delete(second.node);
  const slow = gate();
  datacenter.shared.tags.gate = slow.opened;
  const early = second.get();
  await first.put(record("b", 40));
  second.node.announcements.missed();
  datacenter.shared.tags.gate = undefined;
  slow.open();
  await early;
  t.strictSame(await second.get(), record("b", 40));
});

t.test("a failing Redis costs a notice and nothing else", async (t) => {
  const datacenter = new Datacenter();
  const node = datacenter.node();
  await node.put(record("a", 50));
  datacenter.shared.working = false;
  datacenter.clock.advance(5_001);
  t.strictSame(await node.get(), record("a", 50));
  t.match(node.notices, [{ kind: "store_error", op: "redis.tags.get", code: "unavailable" }]);
  await node.get();
  t.equal(node.notices.length, 1, "not asked about this tag again for 5 s");
  t.equal(await node.put(record("b", 40)), true);
  t.strictSame(await node.get(), record("b", 40));
  await node.delete();
  t.strictSame(
    node.notices.map((notice) => notice.kind === "store_error" && notice.op),
    ["redis.tags.get", "redis.tags.put", "redis.tags.get", "redis.tags.delete"],
  );
});

t.test("a store that is known not to answer is not asked, and there is no notice", async (t) => {
  const datacenter = new Datacenter();
  const node = datacenter.node();
  await node.put(record("a", 50));
  datacenter.usable = false;
  datacenter.shared.working = false;
  datacenter.clock.advance(5_001);
  const { gets } = datacenter.shared.tags;
  t.strictSame(await node.get(), record("a", 50));
  t.equal(await node.put(record("b", 40)), true);
  await node.delete();
  t.equal(datacenter.shared.tags.gets, gets);
  t.strictSame(node.notices, []);
  datacenter.usable = true;
  datacenter.shared.working = true;
  await node.get();
  t.equal(datacenter.shared.tags.gets, gets + 1, "asked at once when it is back");
});

t.test("a deleted tag does not come back from a Redis that did not hear of it", async (t) => {
  const datacenter = new Datacenter();
  const node = datacenter.node();
  await node.put(record("a", 50));
  datacenter.shared.working = false;
  await node.delete();
  datacenter.shared.working = true;
  datacenter.clock.advance(5_001);
  t.equal(await node.get(), undefined);
  t.equal(datacenter.shared.tags.records.size, 0, "it has heard now");
  const { now } = datacenter.clock;
  await datacenter.shared.tags.put(app, latest, { ...record("b", 0), checkedAt: now + 1 });
  datacenter.clock.advance(5_001);
  t.strictSame((await node.get())?.digest, record("b", 0).digest, "what came after the deletion counts");
});

t.test("what another node asked before the deletion does not count", async (t) => {
  const datacenter = new Datacenter();
  const [first, second] = [datacenter.node(), datacenter.node()];
  await first.put(record("old", 50));
  datacenter.clock.advance(100);
  await first.delete();
  await second.put(record("old", 0));
  t.equal(await first.get(), undefined, "the pushed tag is asked for upstream");
});

t.test("a failing index is a failure", async (t) => {
  const datacenter = new Datacenter();
  const node = datacenter.node();
  const broken = new MemoryTags(() => datacenter.shared.check());
  const tags = new SharedTags({
    local: broken,
    shared: new MemoryTags(),
    usable: () => true,
    announcements: node.node.announcements,
    notices: () => {},
    clock: datacenter.clock.read,
    steady: datacenter.clock.read,
  });
  datacenter.shared.working = false;
  await t.rejects(tags.get(app, latest), { code: "unavailable" });
  await t.rejects(tags.put(app, latest, record("a", 1)), { code: "unavailable" });
  await t.rejects(tags.delete(app, latest), { code: "unavailable" });
});

t.test(
  "what another node has changed is of unknown age while the shared record cannot be asked",
  async (t) => {
    const datacenter = new Datacenter();
    const [one, two] = [datacenter.node(), datacenter.node()];
    const before = record("before", 20);
    await one.put(before);
    t.strictSame(await two.get(), before);
    await one.node.announcements.publish(tagNews);
    for (const away of [() => (datacenter.usable = false), () => (datacenter.shared.working = false)]) {
      away();
      const found = await two.get();
      t.equal(found?.digest, before.digest, "it may be served while upstream is away as well");
      t.equal(recordAge(found?.checkedAt ?? 0, datacenter.clock.now), Number.POSITIVE_INFINITY);
      t.strictSame(await two.here, before, "nothing is written");
      datacenter.usable = true;
    }
    datacenter.shared.working = true;
    datacenter.clock.advance(5_001);
    t.strictSame(await two.get(), before, "which is known again with the shared record");
  },
);
