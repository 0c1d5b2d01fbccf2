import { rm } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setImmediate as turn } from "node:timers/promises";
import t from "tap";
import { type Digest, digestHex } from "../../../src/oci/digest.ts";
import { StoreError } from "../../../src/ports/blobs.ts";
import { openDiskStore } from "../../../src/storage/disk/store.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { readGraph } from "../../../src/storage/index/stored-manifests.ts";
import { digestOf, putBlob } from "../../fixtures/blob-store-suite.ts";
import { type Cleanup, workDirectory } from "../../system/fixtures/work-directory.ts";

const types = {
  image: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
};

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

const config = digestOf(Buffer.from("config"));
const layer = digestOf(Buffer.from("layer"));
const subject = digestOf(Buffer.from("subject"));
const image = json({
  schemaVersion: 2,
  config: { digest: config, size: 6 },
  layers: [{ digest: layer, size: 5 }],
  subject: { digest: subject, size: 7 },
});
const list = json({
  schemaVersion: 2,
  manifests: [{ digest: digestOf(image), size: 1, platform: { os: "linux", architecture: "amd64" } }],
});

/** A store with `bodies`, and an index that knows of each only what version 7 wrote. */
async function openOld(t: Cleanup, bodies: readonly (readonly [Buffer, string | undefined])[]) {
  const directory = await workDirectory(t);
  const store = await openDiskStore({ directory });
  t.teardown(() => store.close());
  const before = openIndex({ directory, clock: () => 5 });
  for (const [bytes, mediaType] of bodies) {
    const digest = await putBlob(store, bytes);
    before.blobs.add(digest, bytes.length, mediaType, 5, 5);
  }
  before.blobs.setChildren(digestOf(list), [{ digest: digestOf(image), size: 1 }]);
  before.close();
  const db = new DatabaseSync(join(directory, "index.db"));
  db.exec("UPDATE state SET graph_read = x''");
  db.close();
  const index = openIndex({ directory, clock: () => 5 });
  t.teardown(() => index.close());
  return { directory, store, index };
}

t.test("what an earlier version stored gets its roles, platforms and subjects, once", async (t) => {
  const { store, index } = await openOld(t, [
    [image, types.image],
    [list, types.index],
    [Buffer.from("layer"), undefined],
    [json({ config: {}, layers: [{ digest: layer }] }), undefined],
    [Buffer.from("{ no json"), types.image],
  ]);
  t.equal(index.graph.unreadAfter()?.length, 0);
  t.equal(await readGraph({ store, index }), 2);
  t.match(index.graph.parts(digestOf(list), 10), [{ role: "manifest", platform: "linux/amd64", size: 1 }]);
  t.same(
    index.graph
      .parts(digestOf(image), 10)
      .map(({ role }) => role)
      .sort(),
    ["config", "layer"],
  );
  t.same(index.graph.referrers(subject, 10), [digestOf(image)]);
  t.equal(index.blobs.usedAt(digestOf(image)), 5, "reading it is no use");
  t.equal(index.graph.unreadAfter(), undefined);
  t.equal(await readGraph({ store, index }), undefined);
});

t.test("it goes on where it was when it was ended", async (t) => {
  const images = Array.from({ length: 1_200 }, (_, at) =>
    json({ schemaVersion: 2, config: { digest: config, size: at }, layers: [] }),
  );
  const { store, index } = await openOld(
    t,
    images.map((body) => [body, types.image] as const),
  );
  const ending = new AbortController();
  let calls = 0;
  const signal = Object.assign(ending.signal, {
    throwIfAborted() {
      if (++calls === 2) throw new Error("ended");
    },
  });
  await t.rejects(readGraph({ store, index, signal }), { message: "ended" });
  const at = index.graph.unreadAfter();
  t.equal(at?.length, 32);
  t.equal(await readGraph({ store, index }), 700, "those after it alone");
  for (const body of images) t.equal(index.graph.parts(digestOf(body), 10)[0]?.role, "config");
});

t.test("until then what an index names is a manifest, unless it is here as something else", async (t) => {
  const { index } = await openOld(t, [
    [image, types.image],
    [list, types.index],
    [Buffer.from("cached"), undefined],
  ]);
  const [absent, cached] = [digestOf(Buffer.from("absent")), digestOf(Buffer.from("cached"))];
  const named = [absent, cached].map((digest) => ({ digest, size: 1 }));
  index.blobs.setChildren(digestOf(list), named);
  index.blobs.setChildren(digestOf(image), named);
  const roleIn = (of: Buffer, digest: Digest) =>
    index.graph.parts(digestOf(of), 10).find((part) => part.digest === digest)?.role;
  t.equal(roleIn(list, absent), "manifest");
  t.equal(roleIn(list, cached), "layer");
  t.equal(roleIn(image, absent), "layer", "named by an image");
  index.graph.readUpTo(undefined);
  t.equal(roleIn(list, absent), "layer", "as it was read");
});

t.test("a manifest whose file is gone keeps what is known of it", async (t) => {
  const { directory, store, index } = await openOld(t, [[list, types.index]]);
  const hex = digestHex(digestOf(list) as Digest);
  await rm(join(directory, "blobs/sha256", hex.slice(0, 2), hex));
  t.equal(await readGraph({ store, index }), 0);
  t.equal(index.blobs.manifestsNaming(digestOf(image)), 1);
});

t.test("one that cannot be read now ends the round, and is read in the next", async (t) => {
  const { store, index } = await openOld(t, [
    [image, types.image],
    [list, types.index],
  ]);
  const faulty = { open: () => Promise.reject(new StoreError("unavailable", "no free descriptors")) };
  await t.rejects(readGraph({ store: faulty, index }), { code: "unavailable" });
  t.equal(index.graph.unreadAfter()?.length, 0);
  t.equal(await readGraph({ store, index }), 2);
  t.equal(index.graph.unreadAfter(), undefined);
});

t.test("it waits while the log of the index is copied", async (t) => {
  const { store, index } = await openOld(t, [[image, types.image]]);
  const { promise, resolve } = Promise.withResolvers<void>();
  let asked = 0;
  const paused = {
    blobs: index.blobs,
    graph: index.graph,
    transaction: (change: () => void) => index.transaction(change),
    get pause() {
      asked++;
      return promise;
    },
  };
  let done = false;
  const reading = readGraph({ store, index: paused }).finally(() => {
    done = true;
  });
  while (asked === 0 && !done) await turn();
  t.same(index.graph.parts(digestOf(image), 10), [], "nothing is written");
  resolve();
  t.equal(await reading, 1);
  t.equal(index.graph.parts(digestOf(image), 10).length, 2);
});

t.test("what is known already is not written again", async (t) => {
  const directory = t.testdir();
  const index = openIndex({ directory, clock: () => 5 });
  t.teardown(() => index.close());
  const write = (platform?: string, size?: number) => {
    index.blobs.setChildren(digestOf(image), [{ digest: layer, size, role: "layer", platform }], subject);
    return index.changed;
  };
  write("linux/amd64", 5);
  await index.copy("here");
  t.equal(write("linux/amd64", 5), false, "the same");
  t.equal(write("linux/amd64"), false, "no size, where one is known");
  t.equal(write("linux/arm64"), true);
});

t.test("there is nothing to read in a new index", async (t) => {
  const directory = t.testdir();
  const index = openIndex({ directory, clock: () => 5 });
  t.teardown(() => index.close());
  t.equal(index.graph.unreadAfter(), undefined);
});
