import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import { plainUpstream } from "../../../src/config/config.ts";
import { createExplain } from "../../../src/ops/stats/explain.ts";
import type { Explanation } from "../../../src/ops/stats/stats-document.ts";
import { digestOf, type Image, makeImage } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { type Mirror, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

type Explained = Explanation & { kind: "explained" };

const hub = plainUpstream("hub", new URL("https://registry.example.com"));
const image = makeImage({ layers: [100_000, 200_000] });
const [small, large] = image.layers as [(typeof image.layers)[0], (typeof image.layers)[0]];

async function start(t: Test) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", image);
  const clock = new ManualClock();
  const mirror = await startMirror(t, upstream, { clock: clock.read });
  return { upstream, clock, mirror };
}

async function explain(mirror: Mirror, reference: string): Promise<Explained> {
  const answer = await fetch(new URL(`/explain.json?reference=${encodeURIComponent(reference)}`, mirror.ops));
  return (await answer.json()) as Explained;
}

const indexType = "application/vnd.oci.image.index.v1+json";

function indexOf(...images: readonly (readonly [Image, string, string])[]): Buffer {
  const manifests = images.map(([{ digest, manifest, mediaType }, os, architecture]) => ({
    digest,
    size: manifest.length,
    mediaType,
    platform: { os, architecture },
  }));
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
}

/** Pulls a blob and waits until it is stored, which may be after the client has it all. */
async function pull(mirror: Mirror, digest: string): Promise<void> {
  await mirror.get(`/v2/team/app/blobs/${digest}`);
  // The file comes first, then its row of the index.
  const isHere = async () => {
    const [part] = (await explain(mirror, `team/app@${digest}`)).parts;
    return part?.state === "here" && part.checkedAt !== null;
  };
  while (!(await isHere())) await turn();
}

t.test("what was never pulled is not known, and nobody is asked", async (t) => {
  const { mirror, upstream } = await start(t);
  t.match(await explain(mirror, "team/app:1.0"), {
    kind: "explained",
    upstream: "upstream",
    repository: "team/app",
    reference: "1.0",
    summary: "the tag is not known here; a pull asks upstream",
    tag: null,
    parts: [],
  });
  t.match(await explain(mirror, "Not A Reference"), { kind: "unreadable", reference: "Not A Reference" });
  t.equal(upstream.requests.length, 0);
});

t.test("tag, manifest and layers: here or not, since when, last used, by whom", async (t) => {
  const { mirror, upstream, clock } = await start(t);
  await mirror.get("/v2/team/app/manifests/1.0");
  await pull(mirror, small.digest);
  const pulledAt = clock.now;
  clock.advance(61_000);
  upstream.forget();
  const before = await explain(mirror, "upstream/team/app:1.0");
  t.match(before, {
    tag: { digest: image.digest, checkedAt: pulledAt, state: "stale", ttlMs: 60_000 },
    summary: "2 of 4 parts here, 101 kB; 200 kB to be fetched",
    truncated: false,
  });
  const part = (digest: string) => before.parts.find((part) => part.digest === digest);
  t.match(part(image.digest), { kind: "manifest", depth: 0, state: "here", mediaType: image.mediaType });
  t.match(part(small.digest), {
    kind: "blob",
    depth: 1,
    state: "here",
    where: ["disk"],
    sizeBytes: 100_000,
    usedAt: pulledAt,
    linked: true,
    repositories: ["upstream/team/app"],
  });
  t.type(part(small.digest)?.storedAt, "number");
  t.match(part(large.digest), {
    state: "missing",
    where: [],
    sizeBytes: 200_000,
    storedAt: null,
    linked: true,
  });
  t.equal(upstream.requests.length, 0, "upstream is not asked");
  await pull(mirror, large.digest);
  await pull(mirror, image.config.digest);
  t.match(await explain(mirror, `team/app@${image.digest}`), {
    tag: null,
    summary: /^all of it is here: 4 parts, /,
  });
  const again = await explain(mirror, `other/app@${image.digest}`);
  t.match(again.parts[0], { state: "here", linked: false, repositories: ["upstream/team/app"] });
  t.match(await explain(mirror, `team/app@${small.digest}`), { parts: [{ kind: "blob", state: "here" }] });
});

t.test("asking is no use: what is evicted next stays what it was", async (t) => {
  const { mirror, clock } = await start(t);
  await mirror.get("/v2/team/app/manifests/1.0");
  const usedAt = clock.now;
  clock.advance(5000);
  await explain(mirror, "team/app:1.0");
  t.match((await explain(mirror, "team/app:1.0")).parts[0], { digest: image.digest, usedAt });
});

t.test("an index of images: those that are here, and that others are not", async (t) => {
  const { mirror, upstream } = await start(t);
  const other = makeImage({ layers: [10], seed: "other" });
  const body = indexOf([image, "linux", "amd64"], [other, "linux", "arm64"]);
  upstream.addManifest("team/app", "multi", body, indexType);
  await mirror.get("/v2/team/app/manifests/multi");
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  const { parts, summary } = await explain(mirror, "team/app:multi");
  t.strictSame(
    parts.map(({ digest, depth, state }) => [digest, depth, state]),
    [
      [digestOf(body), 0, "here"],
      [image.digest, 1, "here"],
      [image.config.digest, 2, "missing"],
      [small.digest, 2, "missing"],
      [large.digest, 2, "missing"],
      [other.digest, 1, "missing"],
    ],
  );
  t.match(summary, /^2 of 6 parts here, .*; 1 manifest missing, and with it what it names$/);
  t.match(await explain(mirror, "team/app:multi"), {
    images: [
      { digest: image.digest, platform: "linux/amd64", state: "partly" },
      { digest: other.digest, platform: "linux/arm64", state: "absent", missingBytes: null },
    ],
    whole: false,
  });
  for (const { digest } of [image.config, ...image.layers]) await pull(mirror, digest);
  t.match(await explain(mirror, "team/app:multi"), {
    images: [{ state: "whole" }, { state: "absent" }],
    whole: true,
    withoutUpstream: { served: true, why: "all of it is here for linux/amd64, and for no other platform" },
  });
});

t.test("an attestation that is here does not make an index whole, nor served", async (t) => {
  const { mirror, upstream } = await start(t);
  const attestation = makeImage({ layers: [10], seed: "attestation" });
  const body = indexOf([image, "linux", "amd64"], [attestation, "unknown", "unknown"]);
  upstream.addImage("team/app", "attestation", attestation);
  upstream.addManifest("team/app", "multi", body, indexType);
  await mirror.get("/v2/team/app/manifests/multi");
  await mirror.get(`/v2/team/app/manifests/${attestation.digest}`);
  for (const { digest } of [attestation.config, ...attestation.layers]) await pull(mirror, digest);
  t.match(await explain(mirror, "team/app:multi"), {
    images: [{ state: "absent" }, { platform: "unknown/unknown", state: "whole" }],
    whole: false,
    pull: { complete: false },
    withoutUpstream: { served: false },
  });
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  for (const { digest } of [image.config, ...image.layers]) await pull(mirror, digest);
  t.match(await explain(mirror, "team/app:multi"), {
    whole: true,
    withoutUpstream: { served: true, why: "all of it is here" },
  });
});

t.test(
  "what a pull would fetch, who uses the parts, and what it would come to without upstream",
  async (t) => {
    const { mirror, clock } = await start(t);
    t.match(await explain(mirror, "team/app:1.0"), {
      chosenBy: "it is the only one",
      images: [],
      whole: false,
      pull: { bytes: 0, complete: false, durationMs: null },
      withoutUpstream: { served: false, why: "the tag is not known here" },
    });
    await mirror.get("/v2/team/app/manifests/1.0");
    await pull(mirror, small.digest);
    await pull(mirror, image.config.digest);
    const partly = await explain(mirror, "upstream/team/app:1.0");
    t.match(partly, {
      chosenBy: "upstream in the reference names it",
      images: [
        { digest: image.digest, platform: null, state: "partly", missingParts: 1, missingBytes: 200_000 },
      ],
      whole: false,
      pull: { bytes: 200_000, complete: true, durationMs: null },
      withoutUpstream: { served: false, why: "1 part of it is not here" },
    });
    const part = (digest: string) => partly.parts.find((part) => part.digest === digest);
    t.match(part(image.digest), { role: null, where: ["memory", "disk"], checkedAt: clock.now });
    t.match(part(small.digest), { role: "layer", where: ["disk"], tags: ["upstream/team/app:1.0"] });
    t.match(part(image.config.digest), { role: "config", checkedAt: clock.now });
    await pull(mirror, large.digest);
    t.match(await explain(mirror, "team/app:1.0"), {
      images: [{ state: "whole", missingParts: 0, missingBytes: 0 }],
      whole: true,
      pull: { bytes: 0, complete: true },
      withoutUpstream: { served: true, why: "all of it is here" },
    });
    t.match(await explain(mirror, `other/app@${image.digest}`), {
      whole: true,
      withoutUpstream: { served: false, why: /^only upstream can say that other\/app has sha256:/ },
    });
    clock.advance(8 * 86_400_000);
    t.match(await explain(mirror, "team/app:1.0"), {
      tag: { state: "expired" },
      withoutUpstream: { served: false, why: /tags\.staleIfError/ },
    });
  },
);

t.test("what is not on the disk may be in a store of all nodes; the disk is asked first", async (t) => {
  const asked: string[] = [];
  const stored = new Set<string>([image.digest]);
  const explain = createExplain({
    names: () => ({ upstreams: [hub], own: [], port: undefined }),
    tags: { get: async () => undefined },
    freshness: () => ({ ttl: () => 0, state: () => "fresh" }),
    index: { get: () => undefined, usedAt: () => undefined },
    links: { named: async () => true, repositoriesOf: () => [] },
    store: {
      source: "disk",
      open: async () => undefined,
      info: async (digest) => (stored.has(digest) ? { digest, size: 1, modifiedAt: 7 } : undefined),
    },
    graph: {
      parts: () => [],
      users: () => ({ manifests: [], tags: [], repositories: [], truncated: false }),
    },
    inMemory: () => false,
    mayRead: () => true,
    fetchRate: () => undefined,
    coming: () => false,
    elsewhere: () => async (digests) => {
      asked.push(...digests);
      const known = digests.filter((digest) => digest !== image.config.digest);
      return new Map(known.map((digest) => [digest, digest === small.digest ? ["s3"] : []]));
    },
    clock: () => 0,
    mirrorUrl: () => "https://mirror.example.com/registry/",
  });
  t.match(await explain(`team/app@${image.digest}`), {
    parts: [{ state: "here", where: ["disk"], storedAt: 7 }],
  });
  t.match(await explain(`team/app@${small.digest}`), {
    parts: [{ state: "here", where: ["s3"], storedAt: null }],
  });
  t.match(await explain(`team/app@${large.digest}`), {
    parts: [{ state: "missing", where: [] }],
    summary: /to be fetched$|names$/,
    withoutUpstream: { why: "its manifest is not here" },
  });
  t.strictSame(asked, [small.digest, large.digest]);
  t.match(await explain(`team/app@${image.config.digest}`), {
    parts: [{ state: "missing", where: [] }],
    summary: /; not known of S3$/,
    withoutUpstream: { served: false, why: "its manifest is not here; not known of S3" },
  });
});

t.test("of a part beyond the 500th the index says whether it is here", async (t) => {
  const many = makeImage({ layers: Array.from({ length: 510 }, (_, at) => 100 + at) });
  const parts = [many.config, ...many.layers].map(({ digest, bytes }) => ({
    digest,
    size: bytes.length,
    role: "layer" as const,
    platform: undefined,
    usedAt: 7,
  }));
  const partsOf = (absent: number) =>
    parts.map((part, at) => ({ ...part, usedAt: at === absent ? undefined : 7 }));
  const explain = (absent: number) =>
    createExplain({
      names: () => ({ upstreams: [hub], own: [], port: undefined }),
      tags: { get: async () => undefined },
      freshness: () => ({ ttl: () => 0, state: () => "fresh" }),
      index: { get: () => undefined, usedAt: () => 7 },
      links: { named: async () => true, repositoriesOf: () => [] },
      store: {
        source: "disk",
        open: async () => ({
          size: many.manifest.length,
          read: async (position) => many.manifest.subarray(position),
          close: async () => {},
        }),
        info: async (digest) => ({ digest, size: 1, modifiedAt: 7 }),
      },
      graph: {
        parts: () => partsOf(absent),
        users: () => ({ manifests: [], tags: [], repositories: [], truncated: false }),
      },
      inMemory: () => false,
      mayRead: () => true,
      fetchRate: () => undefined,
      coming: () => false,
      clock: () => 0,
      mirrorUrl: () => "https://mirror.example.com/registry/",
    })(`team/app@${many.digest}`);
  t.match(await explain(-1), { truncated: true, whole: true, withoutUpstream: { served: true } });
  t.match(await explain(510), { whole: false, images: [{ missingParts: 1, missingBytes: 609 }] });
});
