import t, { type Test } from "tap";
import { RememberedLinks } from "../../../src/cache/sharing/remembered.ts";
import type { Repository } from "../../../src/oci/name.ts";
import { StoreError } from "../../../src/ports/blobs.ts";
import type { OwnLinks } from "../../../src/ports/records.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { linkStoreSuite, ownLinksSuite } from "../../fixtures/link-store-suite.ts";

const app: Scope = { upstream: "hub", repository: "team/app" as Repository };
const digest = digestOf(Buffer.from("a"));

function storeOf(t: Test): OwnLinks {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  return index.links;
}

/** `store` with some of it replaced. */
function over(store: OwnLinks, part: Partial<OwnLinks>): OwnLinks {
  return {
    has: (...link) => store.has(...link),
    named: (...link) => store.named(...link),
    add: (...link) => store.add(...link),
    remove: (...link) => store.remove(...link),
    removeAll: (...links) => store.removeAll(...links),
    statedSize: (...link) => store.statedSize(...link),
    onEnd: (ended) => store.onEnd(ended),
    ...part,
  };
}

t.test("the suite of every LinkStore", (t) =>
  linkStoreSuite(t, async (t) => new RememberedLinks(storeOf(t))),
);

t.test("the suite of what a node has for itself", (t) =>
  ownLinksSuite(t, async (t) => new RememberedLinks(storeOf(t))),
);

t.test("a link is looked up once, a missing one each time", async (t) => {
  const store = storeOf(t);
  let lookups = 0;
  const counting = over(store, {
    has: (...link) => {
      lookups += 1;
      return store.has(...link);
    },
  });
  const links = new RememberedLinks(counting);
  t.equal(await links.has(app, digest), false);
  await links.add(app, [{ digest, size: 1 }]);
  for (let i = 0; i < 3; i++) t.equal(await links.has(app, digest), true);
  t.equal(lookups, 2);
  await links.remove(app, digest);
  t.equal(await links.has(app, digest), false);
});

t.test("what was found while the link was removed is not remembered", async (t) => {
  const store = storeOf(t);
  await store.add(app, [{ digest, size: 1 }]);
  const slow = Promise.withResolvers<void>();
  const slowly = over(store, {
    has: async (...link) => {
      const before = await store.has(...link);
      await slow.promise;
      return before;
    },
  });
  const links = new RememberedLinks(slowly);
  const lookup = links.has(app, digest);
  await links.remove(app, digest);
  slow.resolve();
  await lookup;
  t.equal(await links.has(app, digest), false);
});

t.test("a removal that fails leaves nothing remembered", async (t) => {
  const store = storeOf(t);
  await store.add(app, [{ digest, size: 1 }]);
  let lookups = 0;
  const failing = over(store, {
    has: (...link) => {
      lookups += 1;
      return store.has(...link);
    },
    remove: async () => {
      throw new StoreError("io", "the disk is broken");
    },
  });
  const links = new RememberedLinks(failing);
  await links.has(app, digest);
  await t.rejects(links.remove(app, digest), { code: "io" });
  await links.has(app, digest);
  t.equal(lookups, 2);
});
