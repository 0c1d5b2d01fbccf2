// Blobs as clients ask for them: one transfer for all of them, and nobody reads what upstream does not let him.
import t, { type Test } from "tap";
import type { BlobCache, OpenedBlob } from "../../src/cache/blob-cache.ts";
import { StoreError, UpstreamError } from "../../src/cache/ports.ts";
import type { Digest } from "../../src/oci/digest.ts";
import {
  type House,
  mebibyte,
  nothingLeft,
  noticesOf,
  openHouse,
  overwriteBlob,
  readAll,
  readBytes,
  readUntilFailure,
  storeBlob,
  truncateBlob,
} from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { MemoryUpstream, repo, sha256 } from "../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", mebibyte + 9);
const config = randomBytesFor("config", 2_000);
const app = repo("team/app");
const other = repo("team/other");
const stranger = repo("stranger/app");

function open({ blobs, upstream }: House, repository: typeof app, digest: Digest) {
  return blobs.open(upstream, repository, digest);
}

/** Opens, expecting to find; the caller reads and closes. */
async function found(t: Test, house: House, repository: typeof app, digest: Digest): Promise<OpenedBlob> {
  const opened = await open(house, repository, digest);
  if (opened.kind !== "found") throw new Error(`not found: ${opened.kind}`);
  t.teardown(() => opened.reader.close());
  return opened;
}

async function fillsOver({ blobs }: { readonly blobs: BlobCache }): Promise<void> {
  await Promise.all(blobs.fills.map((fill) => fill.done));
}

function summary({ kind, result, source, size }: Omit<OpenedBlob, "reader">) {
  return { kind, result, source, size };
}

t.test("a miss, then a hit from the disk; small ones from memory after that", async (t) => {
  const house = await openHouse(t);
  for (const blob of [bytes, config]) {
    const size = blob.length;
    const digest = house.upstream.addBlob("team/app", blob);
    const miss = await found(t, house, app, digest);
    t.same(summary(miss), { kind: "found", result: "miss", source: "upstream:up", size });
    t.ok((await readAll(miss.reader)).equals(blob));
    await fillsOver(house);
    for (const source of ["disk", size < 64 * 1024 ? "memory" : "disk"] as const) {
      const hit = await found(t, house, app, digest);
      t.same(summary(hit), { kind: "found", result: "hit", source, size });
      t.ok((await readAll(hit.reader)).equals(blob));
    }
  }
  t.equal(house.upstream.calls.length, 2, "one download each, and no other question");
  await nothingLeft(t, house);
});

t.test("fifty clients in three repositories make one transfer", async (t) => {
  const house = await openHouse(t);
  const repositories = [app, other, repo("third/app")];
  const digest = sha256(bytes);
  for (const repository of repositories) house.upstream.addBlob(repository, bytes);
  const answered = gate();
  house.upstream.transfers.push({ answerAfter: answered.opened });
  const opening = Array.from({ length: 50 }, (_, at) =>
    open(house, repositories[at % 3] as typeof app, digest),
  );
  await eventually("all wait for the first", () => house.blobs.fills[0]?.followers === 50);
  answered.open();
  const opened = await Promise.all(opening);
  const bodies = await Promise.all(
    opened.map(async (blob) => (blob.kind === "found" ? readAll(blob.reader) : Buffer.alloc(0))),
  );
  t.ok(bodies.every((body) => body.equals(bytes)));
  const results = opened.map((blob) => blob.kind === "found" && blob.result);
  t.equal(results.filter((result) => result === "miss").length, 1);
  t.equal(results.filter((result) => result === "joined").length, 49);
  t.equal(house.upstream.count("GET blob"), 1);
  t.equal(house.upstream.bytesSent, bytes.length);
  t.equal(house.upstream.count("HEAD blob"), 2, "each other repository proves its right once");
  await fillsOver(house);
  for (const repository of repositories) await readAll((await found(t, house, repository, digest)).reader);
  t.equal(house.upstream.calls.length, 3, "and is remembered");
  await nothingLeft(t, house);
});

// ---- rights -----------------------------------------------------------------------------------------------------

t.test(
  "a repository without the blob does not get it, whether it is here, under way or neither",
  async (t) => {
    const house = await openHouse(t);
    const digest = house.upstream.addBlob("team/app", bytes);
    t.same(await open(house, stranger, digest), { kind: "absent" }, "neither");
    const held = gate();
    house.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const own = await found(t, house, app, digest);
    t.same(await open(house, stranger, digest), { kind: "absent" }, "under way");
    t.same(await house.blobs.head(house.upstream, stranger, digest), { kind: "absent" });
    t.equal(house.blobs.fills[0]?.followers, 1);
    held.open();
    await readAll(own.reader);
    await fillsOver(house);
    t.same(await open(house, stranger, digest), { kind: "absent" }, "here");
    t.same(await house.blobs.head(house.upstream, stranger, digest), { kind: "absent" });
    t.notOk(house.blobs.inUse(digest), "the stored blob is closed again");
    t.equal(house.upstream.count("GET blob stranger"), 1);
    t.equal(house.upstream.count("HEAD blob stranger"), 4);
  },
);

t.test("denied is denied", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  house.upstream.addBlob("stranger/app", bytes);
  house.upstream.deny("stranger/app");
  t.same(await open(house, stranger, digest), { kind: "denied" }, "not here");
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  t.same(await open(house, stranger, digest), { kind: "denied" }, "here");
  t.same(await house.blobs.head(house.upstream, stranger, digest), { kind: "denied" });
  t.notOk(house.blobs.inUse(digest));
});

t.test("a right upstream cannot confirm is not granted, and the blob is closed again", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  const failure = new UpstreamError("unreachable", "no route");
  house.upstream.fault = () => {
    throw failure;
  };
  await t.rejects(open(house, other, digest), failure);
  await t.rejects(house.blobs.head(house.upstream, other, digest), failure);
  t.notOk(house.blobs.inUse(digest));
  t.ok(
    (await readAll((await found(t, house, app, digest)).reader)).equals(bytes),
    "what is known needs nobody",
  );
});

t.test("the answer to a download decides about the link", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await house.access.link(house.upstream, stranger, [{ digest, size: undefined }]);
  await house.access.link(house.upstream, other, [{ digest, size: undefined }]);
  t.same(await open(house, stranger, digest), { kind: "absent" });
  t.equal(await house.access.linked(house.upstream, stranger, digest), false, "absent unlinks");
  house.upstream.deny("team/other");
  t.same(await open(house, other, digest), { kind: "denied" });
  t.equal(await house.access.linked(house.upstream, other, digest), true, "denied does not");
  t.equal(await house.access.linked(house.upstream, app, digest), false);
  await readAll((await found(t, house, app, digest)).reader);
  t.equal(await house.access.linked(house.upstream, app, digest), true, "found links");
  t.equal(await house.index.links.statedSize(digest), bytes.length, "with the size");
});

t.test("a fill refused to one repository does not fail another that waits for it", async (t) => {
  for (const refuse of ["absent", "denied"] as const)
    await t.test(refuse, async (t) => {
      const house = await openHouse(t);
      const digest = house.upstream.addBlob("team/app", bytes);
      const answered = gate();
      house.upstream.transfers.push({ answerAfter: answered.opened, refuse });
      const refused = open(house, stranger, digest);
      await eventually("upstream is asked", () => house.upstream.count("GET blob") === 1);
      const waiting = found(t, house, app, digest);
      await eventually("it waits as well", () => house.blobs.fills[0]?.followers === 2);
      answered.open();
      t.same(await refused, { kind: refuse });
      const opened = await waiting;
      t.equal(opened.result, "miss");
      t.ok((await readAll(opened.reader)).equals(bytes));
    });
});

t.test("however many ask in vain before it, a repository with the blob gets it", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await house.access.link(house.upstream, app, [{ digest, size: undefined }]);
  const answered = gate();
  house.upstream.fault = async (call) => {
    if (!call.startsWith("GET")) return;
    await answered.opened;
    // Long enough for all the others to join.
    await quiet(200);
  };
  const others = Array.from({ length: 6 }, (_, at) => repo(`stranger/app${at}`));
  // Links that are no longer true: all of them wait for one another's downloads.
  for (const repository of others)
    await house.access.link(house.upstream, repository, [{ digest, size: undefined }]);
  const vain = others.flatMap((repository) => [1, 2, 3].map(() => open(house, repository, digest)));
  const opening = found(t, house, app, digest);
  await eventually("all wait for the first", () => house.blobs.fills[0]?.followers === vain.length + 1);
  answered.open();
  t.ok((await Promise.all(vain)).every(({ kind }) => kind === "absent"));
  t.ok((await readAll((await opening).reader)).equals(bytes));
});

// ---- HEAD -------------------------------------------------------------------------------------------------------

t.test(
  "HEAD answers from the store, from a fill, from the proof or from upstream, and never downloads",
  async (t) => {
    const house = await openHouse(t);
    const digest = house.upstream.addBlob("team/app", bytes);
    house.upstream.addBlob("team/other", bytes);
    const head = (repository: typeof app) => house.blobs.head(house.upstream, repository, digest);
    const size = bytes.length;
    const fromUpstream = { kind: "found", source: "upstream:up", size };
    t.same(await head(app), { ...fromUpstream, result: "miss" });
    t.equal(house.upstream.calls.length, 1, "the proof is the answer");
    t.same(await head(app), { ...fromUpstream, result: "miss" });
    t.equal(house.upstream.calls.length, 2);
    t.equal(house.upstream.count("GET"), 0);

    const held = gate();
    house.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const opened = await found(t, house, app, digest);
    t.same(await head(app), { ...fromUpstream, result: "joined" });
    held.open();
    await readAll(opened.reader);
    await fillsOver(house);
    t.same(await head(app), { kind: "found", result: "hit", source: "disk", size });
    t.same(await head(other), { kind: "found", result: "hit", source: "disk", size });
    t.notOk(house.blobs.inUse(digest));
    t.equal(house.upstream.calls.length, 4, "one download, one proof");

    await house.store.delete(digest);
    house.upstream.remove("team/app", digest);
    t.same(await head(app), { kind: "absent" });
    t.equal(await house.access.linked(house.upstream, app, digest), false, "absent unlinks");
    house.upstream.deny("team/other");
    t.same(await head(other), { kind: "denied" });
    t.equal(await house.access.linked(house.upstream, other, digest), true);
  },
);

t.test("HEAD while upstream sends a body without a size asks for the size", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  const held = gate();
  house.upstream.transfers.push({ noSize: true, hold: { at: mebibyte, until: held.opened } });
  const opened = await found(t, house, app, digest);
  t.equal(opened.size, undefined);
  const head = await house.blobs.head(house.upstream, app, digest);
  t.match(head, { result: "miss", size: bytes.length });
  held.open();
  t.ok((await readAll(opened.reader)).equals(bytes));
});

// ---- races and failures -----------------------------------------------------------------------------------------

t.test("a fill that runs from start to end during a look-up is found, not repeated", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  const looked = gate();
  let lookups = 0;
  house.store.faults.set("missing", () => (++lookups === 1 ? looked.opened : undefined));
  const late = found(t, house, app, digest);
  await eventually("the first has found nothing", () => lookups === 1);
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  looked.open();
  const opened = await late;
  t.equal(opened.result, "hit");
  t.ok((await readAll(opened.reader)).equals(bytes));
  t.equal(house.upstream.count("GET blob"), 1);
});

t.test(
  "a fill that starts during a look-up is joined, and one that ends during the proof is found",
  async (t) => {
    const house = await openHouse(t);
    const digest = house.upstream.addBlob("team/app", bytes);
    house.upstream.addBlob("team/other", bytes);
    const [looked, held, proved] = [gate(), gate(), gate()];
    let lookups = 0;
    house.store.faults.set("missing", () => (++lookups === 1 ? looked.opened : undefined));
    house.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const late = found(t, house, app, digest);
    await eventually("the first has found nothing", () => lookups === 1);
    const first = await found(t, house, app, digest);
    looked.open();
    const joined = await late;
    t.equal(joined.result, "joined");

    house.upstream.fault = (call) => (call.startsWith("HEAD") ? proved.opened : undefined);
    const proving = found(t, house, other, digest);
    await eventually("upstream is asked", () => house.upstream.count("HEAD") === 1);
    held.open();
    await Promise.all([readAll(first.reader), readAll(joined.reader)]);
    await fillsOver(house);
    proved.open();
    const hit = await proving;
    t.equal(hit.result, "hit");
    t.ok((await readAll(hit.reader)).equals(bytes));
    t.equal(house.upstream.count("GET blob"), 1);
  },
);

t.test("a store that cannot open is reported, and upstream serves, once for all who ask", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  house.store.faults.set("open", failing());
  const opened = await Promise.all([1, 2, 3].map(() => found(t, house, app, digest)));
  for (const { reader } of opened) t.ok((await readAll(reader)).equals(bytes));
  t.equal(house.upstream.count("GET blob"), 2);
  t.match(noticesOf(house, "store_error")[0], { op: "open", code: "io" });
  await fillsOver(house);
  house.store.faults.clear();
  t.equal((await found(t, house, app, digest)).result, "hit", "a store that recovers serves again");
});

t.test(
  "with a store that cannot open, a request whose fill ends while it proves its right still ends",
  async (t) => {
    const house = await openHouse(t);
    const digest = house.upstream.addBlob("team/app", bytes);
    house.upstream.addBlob("team/other", bytes);
    await storeBlob(house, bytes, digest);
    await house.access.link(house.upstream, app, [{ digest, size: undefined }]);
    const [looked, proved] = [gate(), gate()];
    let opens = 0;
    house.store.faults.set("open", async (operation) => {
      if (++opens === 4) await looked.opened;
      failing()(operation);
    });
    house.upstream.fault = (call) => (call.startsWith("HEAD") ? proved.opened : undefined);
    const unlinked = found(t, house, other, digest);
    await eventually("it looks for the last time", () => opens >= 3);
    await quiet();
    const linked = await found(t, house, app, digest);
    looked.open();
    await quiet();
    await readAll(linked.reader);
    await fillsOver(house);
    proved.open();
    t.ok((await readAll((await unlinked).reader)).equals(bytes));
  },
);

t.test("an index that fails is reported, and upstream serves", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  const failure = new StoreError("io", "the index is broken");
  for (const method of ["get", "add", "totals"] as const) house.faults.blobs.set(method, failure);
  for (const method of ["has", "add"] as const) house.faults.links.set(method, failure);
  for (const result of ["miss", "miss"] as const) {
    const opened = await found(t, house, app, digest);
    t.equal(opened.result, result);
    t.ok((await readAll(opened.reader)).equals(bytes));
    await fillsOver(house);
  }
  t.same(
    new Set(noticesOf(house, "store_error").map(({ op }) => op)),
    new Set(["links.has", "open", "index.get", "index.totals", "index.add", "links.add"]),
  );
  house.faults.blobs.clear();
  house.faults.links.clear();
  t.equal((await found(t, house, app, digest)).result, "hit", "the store is believed without a row");
});

t.test("a stored file of another size is dropped and downloaded again", async (t) => {
  for (const size of [bytes.length - 1, bytes.length + 1, 10, 0])
    await t.test(`${size} bytes`, async (t) => {
      const house = await openHouse(t);
      const digest = house.upstream.addBlob("team/app", bytes);
      await readAll((await found(t, house, app, digest)).reader);
      await fillsOver(house);
      await truncateBlob(house, digest, size);
      const again = await found(t, house, app, digest);
      t.equal(again.result, "miss");
      t.ok((await readAll(again.reader)).equals(bytes));
      await fillsOver(house);
      t.match(noticesOf(house, "eviction"), [{ reason: "corrupt", digest, bytes: size, orphaned: 0 }]);
      t.equal((await found(t, house, app, digest)).result, "hit");
    });
});

t.test("a small stored file is verified before it is served", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", config);
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  await overwriteBlob(house, digest, Buffer.alloc(config.length));
  const again = await found(t, house, app, digest);
  t.equal(again.result, "miss");
  t.ok((await readAll(again.reader)).equals(config));
});

t.test("upstream's failure reaches everybody who waits, and the next one asks again", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  const failure = new UpstreamError("timeout", "too slow");
  const answered = gate();
  house.upstream.transfers.push({ answerAfter: answered.opened, failWith: failure });
  const opening = [1, 2, 3].map(() => open(house, app, digest));
  await eventually("all wait", () => house.blobs.fills[0]?.followers === 3);
  answered.open();
  for (const result of await Promise.allSettled(opening))
    t.same(result, { status: "rejected", reason: failure });
  await quiet();
  t.equal(house.blobs.fills.length, 0);
  t.ok((await readAll((await found(t, house, app, digest)).reader)).equals(bytes));
  await fillsOver(house);
  await nothingLeft(t, house);
});

t.test("wrong bytes are nobody's blob; the next request downloads again", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  house.upstream.transfers.push({ bytes: Buffer.alloc(bytes.length) });
  const opened = await Promise.all([1, 2].map(() => found(t, house, app, digest)));
  for (const { reader } of opened) {
    const { bytes: read, error } = await readUntilFailure(reader);
    t.match(error, { code: "digest_mismatch" });
    t.ok(read.length < bytes.length);
  }
  const again = await found(t, house, app, digest);
  t.equal(again.result, "miss");
  t.ok((await readAll(again.reader)).equals(bytes));
  t.equal(house.upstream.count("GET blob"), 2);
});

t.test(
  "a client in another upstream joins when its upstream has the blob, and is told who sends",
  async (t) => {
    const house = await openHouse(t);
    const digest = house.upstream.addBlob("team/app", bytes);
    const second = new MemoryUpstream("second");
    const held = gate();
    house.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const first = await found(t, house, app, digest);
    t.same(await house.blobs.open(second, app, digest), { kind: "absent" });
    second.addBlob("team/app", bytes);
    const joined = await house.blobs.open(second, app, digest);
    t.match(joined, { result: "joined", source: "upstream:up" });
    t.match(await house.blobs.head(second, app, digest), { result: "joined", source: "upstream:up" });
    t.equal(second.count("GET"), 0);
    held.open();
    t.ok(joined.kind === "found" && (await readAll(joined.reader)).equals(bytes));
    await readAll(first.reader);
  },
);

// ---- relays -----------------------------------------------------------------------------------------------------

t.test("a relay that can no longer be joined gets a second transfer, which others join", async (t) => {
  const house = await openHouse(t, { windowBytes: 512 * 1024 });
  const blob = randomBytesFor("large", 2 * mebibyte);
  const digest = house.upstream.addBlob("team/app", blob);
  house.store.faults.set("create", failing("no_space"));
  const [end, middle] = [gate(), gate()];
  house.upstream.transfers.push(
    { hold: { at: blob.length, until: end.opened } },
    { hold: { at: 16 * 1024, until: middle.opened } },
  );
  const first = await found(t, house, app, digest);
  await readBytes(first.reader, { end: mebibyte });
  const second = await found(t, house, app, digest);
  t.equal(second.result, "miss");
  t.equal(house.blobs.fills.length, 2);
  end.open();
  t.equal((await readBytes(first.reader, { from: mebibyte })).length, mebibyte);
  await first.reader.close();
  await eventually("the first relay is over", () => house.blobs.fills.length === 1);
  const third = await found(t, house, app, digest);
  t.equal(third.result, "joined");
  t.equal(house.blobs.inUse(digest), true);
  middle.open();
  const both = await Promise.all([readAll(second.reader), readAll(third.reader)]);
  t.ok(both.every((body) => body.equals(blob)));
  await fillsOver(house);
  await quiet();
  t.equal(house.blobs.inUse(digest), false);
  t.equal(house.upstream.count("GET blob"), 2);
});

t.test("an oversize manifest is relayed from its own endpoint, verified and not stored", async (t) => {
  const house = await openHouse(t);
  const { upstream, blobs } = house;
  const digest = upstream.addManifest("team/app", undefined, bytes, undefined);
  const relayed = await blobs.relayManifest(upstream, app, digest);
  t.match(relayed, { kind: "found", result: "miss", source: "upstream:up", size: bytes.length });
  t.equal(blobs.inUse(digest), false, "nobody joins it as a blob");
  t.ok(relayed.kind === "found" && (await readAll(relayed.reader)).equals(bytes));
  t.same(upstream.calls, [`GET body team/app ${digest} from 0`]);
  await eventually("it is over", () => blobs.fills.length === 0);
  t.equal(house.store.spools, 0);
  t.equal(await house.store.open(digest), undefined);
  t.equal(house.index.blobs.get(digest), undefined);

  const liar = upstream.addManifest(
    "team/app",
    undefined,
    Buffer.alloc(bytes.length),
    undefined,
    sha256(config),
  );
  const wrong = await blobs.relayManifest(upstream, app, liar);
  const { error } = await readUntilFailure((wrong as OpenedBlob).reader);
  t.match(error, { code: "digest_mismatch" });
  t.same(await blobs.relayManifest(upstream, stranger, digest), { kind: "absent" });
});

// ---- state ------------------------------------------------------------------------------------------------------

t.test("running fills, what they will take in the store, and what is in use", async (t) => {
  const house = await openHouse(t);
  const { blobs, upstream } = house;
  const [held, answered] = [gate(), gate()];
  const second = randomBytesFor("second", 400_000);
  const digests = [upstream.addBlob("team/app", bytes), upstream.addBlob("team/app", second)] as const;
  t.same([blobs.fills.length, blobs.fillingBytes], [0, 0]);
  upstream.transfers.push(
    { hold: { at: mebibyte, until: held.opened } },
    { noSize: true, answerAfter: answered.opened, hold: { at: 300_000, until: held.opened } },
  );
  const first = await found(t, house, app, digests[0]);
  t.equal(blobs.fillingBytes, bytes.length, "its size, when that is known");
  const opening = found(t, house, app, digests[1]);
  await eventually("both run", () => blobs.fills.length === 2);
  answered.open();
  const unknown = await opening;
  await eventually("some bytes have come", () => blobs.fills[1]?.received === 300_000);
  t.equal(blobs.fillingBytes, bytes.length + 300_000, "what has come, when not");
  t.ok(digests.every((digest) => blobs.inUse(digest)));
  held.open();
  await readAll(first.reader);
  await fillsOver(house);
  await quiet();
  t.same([blobs.fills.length, blobs.fillingBytes], [0, 0]);
  t.equal(blobs.inUse(digests[1]), false, "a follower of a fill that is over reads the spool");
  await readAll(unknown.reader);
  const reading = await found(t, house, app, digests[0]);
  t.equal(blobs.inUse(digests[0]), true, "a stored blob that is being read is in use");
  await reading.reader.close();
  t.equal(blobs.inUse(digests[0]), false);
});

t.test("a relayed blob takes nothing in the store", async (t) => {
  const house = await openHouse(t, { maxSize: mebibyte });
  const digest = house.upstream.addBlob("team/app", bytes);
  const held = gate();
  house.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
  const relayed = await found(t, house, app, digest);
  await eventually("bytes come", () => (house.blobs.fills[0]?.received ?? 0) > 0);
  t.equal(house.blobs.fillingBytes, 0);
  held.open();
  t.ok((await readAll(relayed.reader)).equals(bytes));
  t.equal(house.store.count("create"), 0, "it is larger than the whole cache");
});

t.test("a blob being committed is not counted twice against the budget", async (t) => {
  const old = randomBytesFor("old", 300_000);
  const house = await openHouse(t, { maxSize: 2 * mebibyte });
  await storeBlob(house, old, sha256(old));
  const digest = house.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  await house.eviction.run();
  t.same(noticesOf(house, "eviction"), []);
});

t.test("stopping ends every fill and waits until their spools are gone", async (t) => {
  const house = await openHouse(t);
  const held = gate();
  const blobs = [bytes, randomBytesFor("second", mebibyte)];
  house.upstream.transfers.push(
    ...blobs.map(() => ({ pace: (at: number) => (at < 500_000 ? undefined : held.opened) })),
  );
  const opened = await Promise.all(
    blobs.map((blob) => found(t, house, app, house.upstream.addBlob("team/app", blob))),
  );
  await eventually("both are half-way", () => house.blobs.fills.every(({ received }) => received > 400_000));
  const stopped = house.blobs.stop(new Error("this node is stopping"));
  held.open();
  await stopped;
  t.same(house.blobs.fills, []);
  for (const { reader } of opened)
    t.match((await readUntilFailure(reader)).error, { message: "this node is stopping" });
  await nothingLeft(t, house);
  await house.blobs.stop(new Error("again"));
});
