// Manifests by digest: never expire, need no upstream when they are here, and need a right in the repository asked.
import t, { type Test } from "tap";
import type { ManifestOpened, OpenedManifest, RelayedManifest } from "../../src/cache/manifests.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { largestManifest } from "../../src/oci/manifest.ts";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import {
  type CacheFixture,
  mebibyte,
  noticesOf,
  openCache,
  readAll,
  readUntilFailure,
  storeBlob,
} from "../fixtures/cache-fixture.ts";
import { type Image, makeImage } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { repo, sha256, tagOf } from "../fixtures/memory-upstream.ts";
import { MemoryPeers } from "../fixtures/neighbours.ts";

const app = repo("team/app");
const other = repo("team/other");
const tag = tagOf("1.0");
const image = makeImage({ layers: [10, 20] });
const parts = [image.digest, image.config.digest, ...image.layers.map(({ digest }) => digest)];

function push({ upstream }: CacheFixture, of: Image, repository: string = app): void {
  upstream.addManifest(repository, undefined, of.manifest, of.mediaType, of.digest);
}

function open({ manifests, upstream }: CacheFixture, digest: Digest = image.digest, repository = app) {
  return manifests.open(remoteRepository(upstream, repository), { kind: "digest", digest });
}

function gives(t: Test, opened: ManifestOpened, of: Image, result: string, source: string): void {
  if (opened.kind !== "found") throw new Error(opened.kind);
  const { body, ...rest } = opened as OpenedManifest;
  t.ok(body.equals(of.manifest));
  t.same(rest, { kind: "found", result, source, digest: of.digest, mediaType: of.mediaType, age: 0 });
}

/** Which parts the repository is linked to: the manifest because upstream has shown it, the others by name. */
async function linked({ access, upstream }: CacheFixture, repository: typeof app): Promise<boolean[]> {
  const named = parts.slice(1).map((digest) => access.named(remoteRepository(upstream, repository), digest));
  return Promise.all([access.linked(remoteRepository(upstream, repository), image.digest), ...named]);
}

t.test("fetched once, then here for ever, without upstream", async (t) => {
  const cache = await openCache(t);
  push(cache, image);
  gives(t, await open(cache), image, "miss", "upstream:up");
  t.same(cache.upstream.calls, [`GET manifest team/app ${image.digest}`]);
  t.same(
    await linked(cache, app),
    parts.map(() => true),
  );
  cache.clock.advance(1e12);
  cache.upstream.fault = () => {
    throw new UpstreamError("unreachable", "no route");
  };
  gives(t, await open(cache), image, "hit", "memory");
  t.equal(
    await cache.index.tags.get({ upstream: "up", repository: app }, tag),
    undefined,
    "no tag is recorded",
  );
});

t.test("what is in memory is given at once, to the repository that has a right to it", async (t) => {
  const cache = await openCache(t, { remembered: true });
  push(cache, image);
  await open(cache);
  await open(cache);
  const { manifests, upstream } = cache;
  const ask = (repository: typeof app) =>
    manifests.openAtOnce(remoteRepository(upstream, repository), { kind: "digest", digest: image.digest });
  const opened = ask(app);
  if (opened instanceof Promise) throw new Error("a promise");
  gives(t, opened, image, "hit", "memory");
  t.equal(upstream.calls.length, 1);
  t.same(await ask(other), { kind: "absent" });
  t.equal(upstream.calls.at(-1), `HEAD manifest team/other ${image.digest}`);
});

t.test(
  "a manifest that is here is readable elsewhere when upstream says so; its parts are then too",
  async (t) => {
    const cache = await openCache(t);
    push(cache, image);
    push(cache, image, other);
    await open(cache);
    gives(t, await open(cache, image.digest, other), image, "hit", "memory");
    t.equal(cache.upstream.calls.at(-1), `HEAD manifest team/other ${image.digest}`);
    t.same(
      await linked(cache, other),
      parts.map(() => true),
    );
    gives(t, await open(cache, image.digest, other), image, "hit", "memory");
    t.equal(cache.upstream.calls.length, 2, "asked once");
  },
);

t.test("a repository that does not have it does not get it, whether it is here or not", async (t) => {
  const cache = await openCache(t);
  push(cache, image);
  t.same(await open(cache, image.digest, other), { kind: "absent" }, "not here");
  await open(cache);
  t.same(await open(cache, image.digest, other), { kind: "absent" }, "here");
  cache.upstream.deny("team/other");
  t.same(await open(cache, image.digest, other), { kind: "denied" });
  t.same(
    await linked(cache, other),
    parts.map(() => false),
  );
});

t.test("upstream that cannot say grants nothing", async (t) => {
  const cache = await openCache(t);
  push(cache, image);
  await open(cache);
  const failure = new UpstreamError("timeout", "too slow");
  cache.upstream.fault = () => {
    throw failure;
  };
  await t.rejects(open(cache, image.digest, other), failure);
  await t.rejects(open(cache, sha256(Buffer.from("another"))), failure);
});

t.test("absent takes the link away, denied does not", async (t) => {
  const cache = await openCache(t);
  for (const repository of [app, other])
    await cache.access.link(remoteRepository(cache.upstream, repository), [
      { digest: image.digest, size: undefined },
    ]);
  t.same(await open(cache), { kind: "absent" });
  t.equal(await cache.access.linked(remoteRepository(cache.upstream, app), image.digest), false);
  cache.upstream.deny("team/other");
  t.same(await open(cache, image.digest, other), { kind: "denied" });
  t.equal(await cache.access.linked(remoteRepository(cache.upstream, other), image.digest), true);
});

t.test("requests of the same time share one question", async (t) => {
  const cache = await openCache(t);
  push(cache, image);
  const held = gate();
  cache.upstream.fault = () => held.opened;
  const opening = Array.from({ length: 10 }, () => open(cache));
  await eventually("upstream is asked", () => cache.upstream.calls.length > 0);
  await quiet();
  held.open();
  const opened = await Promise.all(opening);
  gives(t, opened[0] as ManifestOpened, image, "miss", "upstream:up");
  for (const each of opened.slice(1)) gives(t, each, image, "joined", "upstream:up");
  t.equal(cache.upstream.calls.length, 1);
});

t.test("sha512: fetched, verified and kept like sha256, by digest and by tag", async (t) => {
  const cache = await openCache(t);
  const long = makeImage({ layers: [10], algorithm: "sha512" });
  cache.upstream.addManifest("team/app", tag, long.manifest, long.mediaType, long.digest);
  gives(t, await open(cache, long.digest), long, "miss", "upstream:up");
  const byTag = await cache.manifests.open(remoteRepository(cache.upstream, app), { kind: "tag", tag });
  gives(t, byTag, long, "miss", "upstream:up");
  t.equal((await cache.index.tags.get({ upstream: "up", repository: app }, tag))?.digest, long.digest);
  cache.upstream.calls.length = 0;
  gives(t, await open(cache, long.digest), long, "hit", "memory");
  t.same(cache.upstream.calls, []);
});

t.test("other bytes than the digest names are refused", async (t) => {
  const cache = await openCache(t);
  cache.upstream.silentHead = true;
  const wrong = makeImage({ layers: [1], seed: "wrong" });
  cache.upstream.addManifest("team/app", undefined, wrong.manifest, wrong.mediaType, image.digest);
  await t.rejects(open(cache), { code: "digest_mismatch" });
  t.equal(cache.index.blobs.get(image.digest), undefined);
  t.same(
    await linked(cache, app),
    parts.map(() => false),
  );
});

t.test("a stored manifest that can no longer be read as one links itself alone", async (t) => {
  const cache = await openCache(t);
  const body = Buffer.from("not json at all");
  await storeBlob(cache, body, sha256(body), "application/json");
  cache.upstream.addManifest("team/other", undefined, body, "application/json");
  const opened = await open(cache, sha256(body), other);
  t.match(opened, { result: "hit", source: "disk" });
  t.equal(await cache.access.linked(remoteRepository(cache.upstream, other), sha256(body)), true);
});

// ---- above 4 MiB ------------------------------------------------------------------------------------------------

const oversize = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    layers: [],
    config: {},
    annotations: { a: "x".repeat(largestManifest) },
  }),
);

t.test("an oversize manifest is relayed, verified, and not stored, by tag and by digest", async (t) => {
  const cache = await openCache(t);
  const { upstream, manifests } = cache;
  const digest = upstream.addManifest(
    "team/app",
    tag,
    oversize,
    "application/vnd.oci.image.manifest.v1+json",
  );
  for (const reference of [{ kind: "tag", tag } as const, { kind: "digest", digest } as const]) {
    const relayed = (await manifests.open(remoteRepository(upstream, app), reference)) as RelayedManifest;
    t.match(relayed, {
      kind: "found",
      result: "miss",
      source: "upstream:up",
      digest,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      size: oversize.length,
    });
    t.ok((await readAll(relayed.reader)).equals(oversize));
  }
  t.equal(await cache.index.tags.get({ upstream: "up", repository: app }, tag), undefined);
  t.equal(cache.store.spools, 0);
  t.same(
    noticesOf(cache, "fill").map(({ result }) => result),
    ["not_stored", "not_stored"],
  );
});

t.test(
  "an oversize manifest with wrong bytes is cut short; one without a type gets the generic one",
  async (t) => {
    const cache = await openCache(t);
    const { upstream, manifests } = cache;
    upstream.addManifest("team/app", tag, oversize, undefined, image.digest);
    const relayed = (await manifests.open(remoteRepository(upstream, app), {
      kind: "tag",
      tag,
    })) as RelayedManifest;
    t.equal(relayed.mediaType, "application/octet-stream");
    const { bytes, error } = await readUntilFailure(relayed.reader);
    t.match(error, { code: "digest_mismatch" });
    t.ok(bytes.length < oversize.length);
  },
);

t.test("a tag that moves to an oversize manifest forgets what it named before", async (t) => {
  const cache = await openCache(t, { freshness: { ttl: 0 } });
  const { upstream, manifests } = cache;
  upstream.addManifest("team/app", tag, image.manifest, image.mediaType);
  await manifests.open(remoteRepository(upstream, app), { kind: "tag", tag });
  upstream.addManifest("team/app", tag, oversize, undefined);
  const relayed = (await manifests.open(remoteRepository(upstream, app), {
    kind: "tag",
    tag,
  })) as RelayedManifest;
  await readAll(relayed.reader);
  const failure = new UpstreamError("unreachable", "no route");
  upstream.fault = () => {
    throw failure;
  };
  await t.rejects(manifests.open(remoteRepository(upstream, app), { kind: "tag", tag }), failure);
});

t.test("an oversize manifest without a digest could not be verified: refused", async (t) => {
  const cache = await openCache(t);
  const { upstream, manifests } = cache;
  upstream.silentHead = true;
  const digest = upstream.addManifest("team/app", tag, oversize, undefined);
  await t.rejects(manifests.open(remoteRepository(upstream, app), { kind: "tag", tag }), {
    name: "UpstreamError",
    code: "too_large",
  });
  const relayed = (await open(cache, digest)) as RelayedManifest;
  t.ok((await readAll(relayed.reader)).equals(oversize), "asked for by digest, the digest is known");
});

t.test("an oversize manifest costs one request, however many ask for it at once", async (t) => {
  const cache = await openCache(t);
  const { upstream, manifests } = cache;
  const digest = upstream.addManifest("team/app", tag, oversize, undefined);
  for (const reference of [{ kind: "tag", tag } as const, { kind: "digest", digest } as const]) {
    upstream.calls.length = 0;
    const ask = async (): Promise<Buffer> => {
      const opened = (await manifests.open(remoteRepository(upstream, app), reference)) as RelayedManifest;
      return readAll(opened.reader);
    };
    const bodies = await Promise.all([ask(), ask(), ask()]);
    t.ok(bodies.every((body) => body.equals(oversize)));
    t.equal(upstream.count("GET"), 1, upstream.calls.join(", "));
  }
});

t.test("an oversize manifest that breaks off goes on by its digest, from where it was", async (t) => {
  const cache = await openCache(t);
  const { upstream, manifests } = cache;
  const digest = upstream.addManifest("team/app", tag, oversize, undefined);
  upstream.transfers.push({ cutAt: mebibyte });
  const relayed = (await manifests.open(remoteRepository(upstream, app), {
    kind: "tag",
    tag,
  })) as RelayedManifest;
  t.ok((await readAll(relayed.reader)).equals(oversize));
  t.same(upstream.calls, [`GET manifest team/app ${tag}`, `GET body team/app ${digest} from ${mebibyte}`]);
});

t.test("HEAD of an oversize manifest does not download it", async (t) => {
  const cache = await openCache(t, { windowBytes: 512 * 1024 });
  const { upstream, manifests } = cache;
  upstream.addManifest("team/app", tag, oversize, undefined);
  const relayed = (await manifests.open(remoteRepository(upstream, app), {
    kind: "tag",
    tag,
  })) as RelayedManifest;
  await relayed.reader.close();
  await Promise.all(cache.blobs.fills.map((fill) => fill.done));
  t.ok(upstream.bytesSent <= 600 * 1024, `${upstream.bytesSent} bytes`);
});

// ---- verified, and nothing the cache can keep --------------------------------------------------------------------

const signed = signedManifest({
  schemaVersion: 1,
  fsLayers: [{ blobSum: image.config.digest }],
  history: [],
});
const crowded = Buffer.from(
  JSON.stringify({ schemaVersion: 2, config: {}, layers: [], annotations: manyNames("k") }),
);

/** As registries sign schema 1: the digest is that of the payload. */
function signedManifest(manifest: object): { body: Buffer; digest: Digest } {
  const payload = JSON.stringify(manifest, undefined, 3);
  const format = { formatLength: Buffer.byteLength(payload) - 2, formatTail: "Cn0" };
  const signature = { protected: Buffer.from(JSON.stringify(format)).toString("base64url"), signature: "x" };
  const body = Buffer.from(`${payload.slice(0, -2)},"signatures":[${JSON.stringify(signature)}]\n}`);
  return { body, digest: sha256(Buffer.from(payload)) };
}

function manyNames(start: string): Record<string, number> {
  return Object.fromEntries(Array.from({ length: 50_000 }, (_, at) => [`${start}${at}`, 1]));
}

const schema1Type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const imageType = "application/vnd.oci.image.manifest.v1+json";
const uncacheable = [
  { name: "a signed schema 1 manifest", ...signed, mediaType: schema1Type },
  {
    name: "one with more in it than is read",
    body: crowded,
    digest: sha256(crowded),
    mediaType: imageType,
  },
];

for (const { name, body, digest, mediaType } of uncacheable) {
  t.test(`${name} is passed through and not kept, by tag and by digest`, async (t) => {
    const cache = await openCache(t, { freshness: { ttl: 0 } });
    const { upstream, manifests } = cache;
    upstream.addManifest("team/app", tag, image.manifest, image.mediaType);
    await manifests.open(remoteRepository(upstream, app), { kind: "tag", tag });
    upstream.addManifest("team/app", tag, body, mediaType, digest);
    const spools = cache.store.spools;
    for (const reference of [{ kind: "tag", tag } as const, { kind: "digest", digest } as const]) {
      upstream.calls.length = 0;
      const ask = async (): Promise<RelayedManifest> =>
        (await manifests.open(remoteRepository(upstream, app), reference)) as RelayedManifest;
      for (const passed of await Promise.all([ask(), ask()])) {
        t.match(passed, { result: "miss", source: "upstream:up", digest, mediaType, size: body.length });
        t.ok((await readAll(passed.reader)).equals(body));
      }
      t.equal(upstream.count("GET"), 1, "once for all requests");
    }
    t.equal(cache.store.spools, spools);
    t.equal(cache.index.blobs.get(digest), undefined);
    t.equal(
      await cache.index.tags.get({ upstream: "up", repository: app }, tag),
      undefined,
      "nor what the tag named before",
    );
    t.equal(await cache.access.linked(remoteRepository(upstream, app), digest), false);
    upstream.fault = () => {
      throw new UpstreamError("unreachable", "no route");
    };
    await t.rejects(open(cache, digest), { code: "unreachable" });
  });
}

t.test(
  "what is signed has its payload's digest, whether or not upstream says so, and no other",
  async (t) => {
    const cache = await openCache(t);
    const { upstream, manifests } = cache;
    upstream.silentHead = true;
    upstream.addManifest("team/app", tag, signed.body, undefined, signed.digest);
    const passed = (await manifests.open(remoteRepository(upstream, app), {
      kind: "tag",
      tag,
    })) as RelayedManifest;
    t.match(passed, { digest: signed.digest, mediaType: schema1Type });
    await passed.reader.close();
    upstream.addManifest("team/app", undefined, signed.body, schema1Type, image.digest);
    await t.rejects(open(cache), { code: "digest_mismatch" });
    const changed = Buffer.from(signed.body.toString().replace('"schemaVersion": 1', '"schemaVersion": 7'));
    upstream.addManifest("team/app", undefined, changed, schema1Type, signed.digest);
    await t.rejects(open(cache, signed.digest), { code: "digest_mismatch" });
  },
);

t.test("a signed manifest that upstream calls by its bytes is kept like any other", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addManifest("team/app", undefined, signed.body, schema1Type);
  t.match(await open(cache, digest), { result: "miss", digest, mediaType: schema1Type });
  t.match(await open(cache, digest), { result: "hit" });
});

t.test("what is no manifest is not stored as one, whatever upstream calls it", async (t) => {
  const cache = await openCache(t);
  for (const mediaType of [imageType, "application/vnd.oci.image.index.v1+json", "application/vnd.x+json"]) {
    const body = Buffer.from('{"k0":1}');
    const digest = cache.upstream.addManifest("team/app", undefined, body, mediaType);
    await t.rejects(open(cache, digest), { code: "protocol" });
    t.equal(cache.index.blobs.get(digest), undefined);
  }
});

// ---- several nodes ------------------------------------------------------------------------------------------------

/** Two caches that can read from each other. */
async function twoNodes(t: Test) {
  const peers = new MemoryPeers();
  const nodes = (other: string) => ({ others: () => [`http://${other}`] });
  const a = await openCache(t, { name: "a", peers, nodes: nodes("b") });
  const b = await openCache(t, { name: "b", peers, nodes: nodes("a") });
  peers.caches.set("http://a", a);
  peers.caches.set("http://b", b);
  push(a, image);
  const fault = () => {
    throw new UpstreamError("unreachable", "no upstream today");
  };
  return { peers, a, b, fault };
}

t.test(
  "while upstream fails it is read from another node, which proves the right to it, and kept",
  async (t) => {
    const { peers, a, b, fault } = await twoNodes(t);
    await open(a);
    b.upstream.fault = fault;
    gives(t, await open(b), image, "miss", "upstream:up");
    const asked = peers.calls.length;
    gives(t, await open(b), image, "hit", "memory");
    t.equal(peers.calls.length, asked);
    await t.rejects(open(b, image.digest, other), { code: "unreachable" }, "not for another repository");
  },
);

t.test("while upstream answers no other node is asked", async (t) => {
  const { peers, a, b } = await twoNodes(t);
  await open(a);
  push(b, image);
  await open(b);
  t.same(peers.calls, []);
});

t.test(
  "what no node has fails as upstream did, and no node asks upstream or a third one for another",
  async (t) => {
    const { peers, a, b, fault } = await twoNodes(t);
    b.upstream.fault = fault;
    await t.rejects(open(b), { code: "unreachable" });
    t.same(peers.calls, [`http://a ${app} HEAD manifest ${image.digest}`]);
    t.same(a.upstream.calls, []);
  },
);

t.test("wrong bytes of another node are not served", async (t) => {
  const { peers, a, b, fault } = await twoNodes(t);
  await open(a);
  b.upstream.fault = fault;
  const { digest, mediaType, manifest } = image;
  peers.manifest = async () => ({ kind: "found", digest, mediaType, body: Buffer.from(`${manifest} `) });
  await t.rejects(open(b), { code: "unreachable" });
});
