// Nobody reads through a repository what upstream does not say to be in it.
import t, { type Test } from "tap";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import { app, bytes, fillsOver, found, openBlob, other, stranger } from "../fixtures/blob-clients.ts";
import { mebibyte, openCache, readAll } from "../fixtures/cache-fixture.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { MemoryUpstream, repo } from "../fixtures/memory-upstream.ts";

t.test(
  "a repository without the blob does not get it, whether it is here, under way or neither",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    t.same(await openBlob(cache, stranger, digest), { kind: "absent" }, "neither");
    const held = gate();
    cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const own = await found(t, cache, app, digest);
    t.same(await openBlob(cache, stranger, digest), { kind: "absent" }, "under way");
    t.same(await cache.blobs.head(remoteRepository(cache.upstream, stranger), digest), { kind: "absent" });
    t.equal(cache.blobs.fills[0]?.followers, 1);
    held.open();
    await readAll(own.reader);
    await fillsOver(cache);
    t.same(await openBlob(cache, stranger, digest), { kind: "absent" }, "here");
    t.same(await cache.blobs.head(remoteRepository(cache.upstream, stranger), digest), { kind: "absent" });
    t.notOk(cache.blobs.inUse(digest), "the stored blob is closed again");
    t.equal(cache.upstream.count("GET blob stranger"), 1);
    t.equal(cache.upstream.count("HEAD blob stranger"), 4);
  },
);

t.test(
  "what a repository has lost while it was fetched for it, it does not get from that fill",
  async (t) => {
    for (const stage of ["under way", "being stored"] as const)
      await t.test(stage, async (t) => {
        const cache = await openCache(t);
        const digest = cache.upstream.addBlob("team/app", bytes);
        const held = gate();
        if (stage === "under way")
          cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
        else cache.store.faults.set("commit", () => held.opened);
        const own = await found(t, cache, app, digest);
        const reading = readAll(own.reader);
        if (stage === "being stored") t.ok((await reading).equals(bytes));
        cache.upstream.remove("team/app", digest);
        await cache.access.unlink(remoteRepository(cache.upstream, app), digest);
        t.same(await openBlob(cache, app, digest), { kind: "absent" });
        t.same(await cache.blobs.head(remoteRepository(cache.upstream, app), digest), { kind: "absent" });
        held.open();
        t.ok((await reading).equals(bytes), "who had it before has it whole");
        await fillsOver(cache);
        t.same(await openBlob(cache, app, digest), { kind: "absent" }, "nor from the store");
      });
  },
);

t.test("denied is denied", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  cache.upstream.addBlob("stranger/app", bytes);
  cache.upstream.deny("stranger/app");
  t.same(await openBlob(cache, stranger, digest), { kind: "denied" }, "not here");
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  t.same(await openBlob(cache, stranger, digest), { kind: "denied" }, "here");
  t.same(await cache.blobs.head(remoteRepository(cache.upstream, stranger), digest), { kind: "denied" });
  t.notOk(cache.blobs.inUse(digest));
});

t.test("a right upstream cannot confirm is not granted, and the blob is closed again", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  const failure = new UpstreamError("unreachable", "no route");
  cache.upstream.fault = () => {
    throw failure;
  };
  await t.rejects(openBlob(cache, other, digest), failure);
  await t.rejects(cache.blobs.head(remoteRepository(cache.upstream, other), digest), failure);
  t.notOk(cache.blobs.inUse(digest));
  t.ok(
    (await readAll((await found(t, cache, app, digest)).reader)).equals(bytes),
    "what is known needs no question",
  );
});

t.test("the answer to a download decides about the link", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  await cache.access.link(remoteRepository(cache.upstream, stranger), [{ digest, size: undefined }]);
  await cache.access.link(remoteRepository(cache.upstream, other), [{ digest, size: undefined }]);
  t.same(await openBlob(cache, stranger, digest), { kind: "absent" });
  t.equal(
    await cache.access.linked(remoteRepository(cache.upstream, stranger), digest),
    false,
    "absent unlinks",
  );
  cache.upstream.deny("team/other");
  t.same(await openBlob(cache, other, digest), { kind: "denied" });
  t.equal(
    await cache.access.linked(remoteRepository(cache.upstream, other), digest),
    true,
    "denied does not",
  );
  t.equal(await cache.access.linked(remoteRepository(cache.upstream, app), digest), false);
  await readAll((await found(t, cache, app, digest)).reader);
  t.equal(await cache.access.linked(remoteRepository(cache.upstream, app), digest), true, "found links");
  t.equal(
    await cache.index.links.statedSize({ upstream: "up", repository: repo("team/app") }, digest),
    undefined,
    "without a size: no descriptor states one",
  );
});

t.test("a fill refused to one repository does not fail another that waits for it", async (t) => {
  for (const refuse of ["absent", "denied"] as const)
    await t.test(refuse, async (t) => {
      const cache = await openCache(t);
      const digest = cache.upstream.addBlob("team/app", bytes);
      const answered = gate();
      cache.upstream.transfers.push({ answerAfter: answered.opened, refuse });
      const refused = openBlob(cache, stranger, digest);
      await eventually("upstream is asked", () => cache.upstream.count("GET blob") === 1);
      const waiting = found(t, cache, app, digest);
      await eventually("it waits as well", () => cache.blobs.fills[0]?.followers === 2);
      answered.open();
      t.same(await refused, { kind: refuse });
      const opened = await waiting;
      t.equal(opened.result, "miss");
      t.ok((await readAll(opened.reader)).equals(bytes));
    });
});

t.test("however many ask in vain before it, a repository with the blob gets it", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  await cache.access.link(remoteRepository(cache.upstream, app), [{ digest, size: undefined }]);
  const answered = gate();
  cache.upstream.fault = async (call) => {
    if (!call.startsWith("GET")) return;
    await answered.opened;
    // Long enough for all the others to join.
    await quiet(200);
  };
  const others = Array.from({ length: 6 }, (_, at) => repo(`stranger/app${at}`));
  // Links that are no longer true: all of them wait for one another's downloads.
  for (const repository of others)
    await cache.access.link(remoteRepository(cache.upstream, repository), [{ digest, size: undefined }]);
  const vain = others.flatMap((repository) => [1, 2, 3].map(() => openBlob(cache, repository, digest)));
  const opening = found(t, cache, app, digest);
  await eventually("all wait for the first", () => cache.blobs.fills[0]?.followers === vain.length + 1);
  answered.open();
  // One whose link upstream has not denied yet when the blob comes may still read it.
  for (const answer of await Promise.all(vain)) {
    if (answer.kind === "found") t.ok((await readAll(answer.reader)).equals(bytes), "by its link");
    else t.equal(answer.kind, "absent");
  }
  t.ok((await readAll((await opening).reader)).equals(bytes));
  t.ok(cache.upstream.count("GET blob") <= vain.length + 1, "no request asks twice");
});

// ---- bytes of another upstream ------------------------------------------------------------------------------------

/** A cache with bytes of `team/app` of its upstream, and another upstream that does not have them. */
async function twoUpstreams(t: Test) {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  const second = new MemoryUpstream("second");
  const push = async (manifest: object, mediaType: string): Promise<void> => {
    const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...manifest }));
    const named = second.addManifest("team/app", undefined, body, mediaType);
    await cache.manifests.open(remoteRepository(second, app), { kind: "digest", digest: named });
    second.calls.length = 0;
  };
  return { cache, digest, second, push };
}

const layerType = "application/vnd.oci.image.layer.v1.tar";
const imageManifest = "application/vnd.oci.image.manifest.v1+json";

t.test(
  "a manifest proves nothing of bytes that came from another upstream: that one is asked, once",
  async (t) => {
    const { cache, digest, second, push } = await twoUpstreams(t);
    await push({ config: {}, layers: [{ mediaType: layerType, digest, size: bytes.length }] }, imageManifest);
    for (let ask = 1; ask <= 2; ask++) {
      t.same(await cache.blobs.open(remoteRepository(second, app), digest), { kind: "absent" });
      t.same(await cache.blobs.head(remoteRepository(second, app), digest), { kind: "absent" });
      t.same(await cache.blobs.openForPeer(remoteRepository(second, app), digest), { kind: "absent" });
    }
    second.addBlob("team/app", bytes);
    second.calls.length = 0;
    for (let ask = 1; ask <= 3; ask++) {
      const opened = await cache.blobs.open(remoteRepository(second, app), digest);
      t.match(opened, { kind: "found", result: "hit" });
      if (opened.kind === "found") await opened.reader.close();
    }
    t.same(second.calls, [`HEAD blob team/app ${digest}`]);
    await push({ config: {}, layers: [], annotations: { another: "one" } }, imageManifest);
    t.equal(cache.upstream.count("HEAD"), 0, "the upstream the bytes came from is not asked");
  },
);

t.test("what an upstream has shown in one repository, a manifest proves in the others", async (t) => {
  const { cache, digest, second, push } = await twoUpstreams(t);
  second.addBlob("team/other", bytes);
  await push({ config: {}, layers: [{ mediaType: layerType, digest, size: bytes.length }] }, imageManifest);
  t.match(await cache.blobs.head(remoteRepository(second, other), digest), { kind: "found" });
  t.match(await cache.blobs.head(remoteRepository(second, app), digest), { kind: "found" });
  t.same(second.calls, [`HEAD blob team/other ${digest}`]);
});

t.test("children of an index are no proof, whatever they call themselves", async (t) => {
  for (const mediaType of [layerType, "application/vnd.buildkit.cacheconfig.v0", imageManifest, undefined]) {
    const cache = await openCache(t, { name: `index of ${mediaType?.slice(-9)}` });
    const digest = cache.upstream.addBlob("team/app", bytes);
    await readAll((await found(t, cache, app, digest)).reader);
    await fillsOver(cache);
    const child = { mediaType, digest, size: bytes.length };
    const type = "application/vnd.oci.image.index.v1+json";
    const body = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [child] }));
    const index = cache.upstream.addManifest("team/other", undefined, body, type);
    await cache.manifests.open(remoteRepository(cache.upstream, other), { kind: "digest", digest: index });
    t.equal(await cache.access.named(remoteRepository(cache.upstream, other), digest), false);
    t.same(await openBlob(cache, other, digest), { kind: "absent" });
    t.same(await cache.manifests.open(remoteRepository(cache.upstream, other), { kind: "digest", digest }), {
      kind: "absent",
    });
  }
});

t.test("a blob named as a layer is no manifest of the other upstream either", async (t) => {
  const { cache, second, push } = await twoUpstreams(t);
  const body = Buffer.from(JSON.stringify({ schemaVersion: 2, config: {}, layers: [] }));
  const secret = cache.upstream.addManifest("team/app", undefined, body, imageManifest);
  await cache.manifests.open(remoteRepository(cache.upstream, app), { kind: "digest", digest: secret });
  await push({ config: {}, layers: [{ mediaType: layerType, digest: secret, size: 1 }] }, imageManifest);
  t.same(await cache.manifests.open(remoteRepository(second, app), { kind: "digest", digest: secret }), {
    kind: "absent",
  });
  t.same(await cache.blobs.open(remoteRepository(second, app), secret), { kind: "absent" });
});

t.test(
  "a download under way for one repository is joined by others whose manifests name the blob",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    const second = new MemoryUpstream("second");
    for (const each of [cache.upstream, second])
      await cache.access.link(remoteRepository(each, other), [{ digest, size: bytes.length, named: true }]);
    const answered = gate();
    cache.upstream.transfers.push({ answerAfter: answered.opened });
    const first = found(t, cache, app, digest);
    await eventually("upstream is asked", () => cache.upstream.count("GET blob") === 1);
    const joined = found(t, cache, other, digest);
    await eventually("it is joined", () => cache.blobs.fills[0]?.followers === 2);
    t.same(
      await cache.blobs.open(remoteRepository(second, other), digest),
      { kind: "absent" },
      "not through another upstream",
    );
    answered.open();
    for (const { reader } of await Promise.all([first, joined])) t.ok((await readAll(reader)).equals(bytes));
    t.equal(cache.upstream.count("HEAD"), 0);
    t.equal(cache.upstream.count("GET"), 1);
  },
);
