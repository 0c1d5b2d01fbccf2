import t from "tap";
import { SharedLinks } from "../../../src/cache/sharing/shared-links.ts";
import type { Notice } from "../../../src/ports/event.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { linkStoreSuite, ownLinksSuite } from "../../fixtures/link-store-suite.ts";
import { MemoryLinks, type MemoryNode, MemoryShared } from "../../fixtures/memory-shared.ts";
import { repo } from "../../fixtures/memory-upstream.ts";

const app: Scope = { upstream: "hub", repository: repo("team/app") };
const layer = digestOf(Buffer.from("layer"));
const link = [{ digest: layer, size: 7 }];

class SharingNode {
  readonly node: MemoryNode;
  readonly local = new MemoryLinks(() => {
    if (this.broken) throw new Error("the index is broken");
  });
  readonly notices: Notice[] = [];
  readonly links: SharedLinks;
  broken = false;
  usable = true;

  constructor(shared: MemoryShared) {
    this.node = shared.node();
    this.links = new SharedLinks({
      local: this.local,
      shared: shared.links,
      usable: () => this.usable,
      announcements: this.node.announcements,
      notices: (notice) => this.notices.push(notice),
    });
  }

  has(): Promise<boolean> {
    return this.links.has(app, layer);
  }
}

t.test("the suite of every LinkStore", (t) =>
  linkStoreSuite(t, async () => new SharingNode(new MemoryShared()).links),
);

t.test("the suite of what a node has for itself", (t) =>
  ownLinksSuite(t, async () => new SharingNode(new MemoryShared()).links),
);

t.test("what one node has proved, another need not", async (t) => {
  const shared = new MemoryShared();
  const [first, second] = [new SharingNode(shared), new SharingNode(shared)];
  await first.links.add(app, link);
  t.equal(await second.has(), true);
  const { asked } = shared.links;
  t.equal(await second.has(), true);
  t.equal(shared.links.asked, asked, "then it knows by itself");
  t.equal(await second.links.statedSize(app, layer), 7);
});

t.test("what upstream no longer has is gone on every node", async (t) => {
  const shared = new MemoryShared();
  const [first, second] = [new SharingNode(shared), new SharingNode(shared)];
  await first.links.add(app, link);
  await second.has();
  await first.links.remove(app, layer);
  t.strictSame(first.node.announcements.published, [{ kind: "unlinked", scope: app, digest: layer }]);
  t.equal(await second.has(), false);
  t.equal(await first.has(), false);
});

t.test("a removed link that Redis still has grants nothing", async (t) => {
  const shared = new MemoryShared();
  const node = new SharingNode(shared);
  await node.links.add(app, link);
  shared.working = false;
  await node.links.remove(app, layer);
  t.match(node.notices, [{ op: "redis.links.remove", code: "unavailable" }]);
  shared.working = true;
  t.equal(shared.links.links.size, 1, "it did not hear of it");
  t.equal(await node.has(), false);
  t.equal(shared.links.links.size, 0, "now it has");
  await shared.links.add(app, link);
  t.equal(await node.has(), false, "only upstream gives it back to this node");
  await node.links.add(app, link);
  t.equal(await node.has(), true);
});

t.test("a failing Redis grants nothing and costs a notice", async (t) => {
  const shared = new MemoryShared();
  const node = new SharingNode(shared);
  shared.working = false;
  t.equal(await node.has(), false);
  await node.links.add(app, link);
  t.equal(await node.has(), true, "kept here");
  t.equal(await node.links.statedSize(app, digestOf(Buffer.from("other"))), undefined);
  t.strictSame(
    node.notices.map((notice) => notice.kind === "store_error" && notice.op),
    ["redis.links.has", "redis.links.add", "redis.links.size"],
  );
  node.usable = false;
  node.notices.length = 0;
  const { asked } = shared.links;
  t.equal(await node.links.has({ upstream: "hub", repository: repo("team/tool") }, layer), false);
  t.equal(shared.links.asked, asked, "not asked while it is known not to answer");
  t.strictSame(node.notices, []);
});

t.test("a failing index is a failure, and a notice when no caller waits for it", async (t) => {
  const shared = new MemoryShared();
  const [first, second] = [new SharingNode(shared), new SharingNode(shared)];
  await first.links.add(app, link);
  second.broken = true;
  await t.rejects(second.has(), /broken/);
  await t.rejects(second.links.add(app, link), /broken/);
  await t.rejects(second.links.remove(app, layer), /broken/);
  await first.links.remove(app, layer);
  await Promise.resolve();
  t.match(second.notices, [{ kind: "store_error", op: "links.remove" }]);
});

t.test("of many removed here alone, what nodes share still counts", async (t) => {
  const shared = new MemoryShared();
  const [first, second] = [new SharingNode(shared), new SharingNode(shared)];
  await first.links.add(app, link);
  t.equal(await second.has(), true);
  t.equal(await second.links.removeAll(app, [layer], { only: "node" }), true);
  t.equal(await shared.links.has(app, layer), true);
  t.equal(await second.has(), true, "which another node may have proved since");
});

t.test(
  "many that could not be removed from what nodes share are tried again, but for those shown since",
  async (t) => {
    const shared = new MemoryShared();
    const node = new SharingNode(shared);
    const shown = digestOf(Buffer.from("shown"));
    const both = [layer, shown];
    await node.links.add(
      app,
      both.map((digest) => ({ digest, size: 7 })),
    );
    node.usable = false;
    t.equal(await node.links.removeAll(app, both), false);
    await node.links.add(app, [{ digest: shown, size: 7 }]);
    t.equal(await node.links.removeAll(app, both, { only: "shared" }), false);
    node.usable = true;
    t.equal(await node.links.removeAll(app, both, { only: "shared" }), true);
    t.same(await Promise.all(both.map((digest) => shared.links.has(app, digest))), [false, true]);
    t.equal(await node.links.has(app, shown), true);
  },
);

t.test(
  "of a whole repository nothing is left in what nodes share, also what this node never had",
  async (t) => {
    const shared = new MemoryShared();
    const [first, second] = [new SharingNode(shared), new SharingNode(shared)];
    await first.links.add(app, link);
    t.equal(await second.links.removeAll(app, [], { whole: true }), true);
    t.equal(await shared.links.has(app, layer), false);
  },
);
