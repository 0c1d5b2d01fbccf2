import { truncate, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import { type Digest, digestHex } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/name.ts";
import { daysOf, ReadinessCheck, type ReadinessOptions } from "../../../src/ops/stats/readiness.ts";
import type { Explanation, Readiness } from "../../../src/ops/stats/stats-document.ts";
import type { OtherNodes } from "../../../src/ports/datacenter/nodes.ts";
import type { ReportedPage } from "../../../src/ports/datacenter/reported-images.ts";
import { digestOf, type Image, makeImage } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { type Mirror, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

const day = 86_400_000;
const indexType = "application/vnd.oci.image.index.v1+json";
const image = makeImage({ layers: [100_000, 200_000] });
const other = makeImage({ layers: [50_000], seed: "other" });

async function start(t: Test, options: Parameters<typeof startMirror>[2] = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", image);
  upstream.addImage("team/app", "2.0", other);
  const clock = new ManualClock();
  const mirror = await startMirror(t, upstream, { clock: clock.read, ...options });
  return { upstream, clock, mirror };
}

async function readiness({ ops }: Mirror, days = 7): Promise<Readiness> {
  const answer = await fetch(new URL(`/api/v1/readiness?days=${days}`, ops));
  return (await answer.json()) as Readiness;
}

/** Pulls as a client does, and waits until all of it is stored, which may be after the client has it. */
async function pull(mirror: Mirror, reference: string, of: Image, how?: string): Promise<void> {
  await mirror.get(`/v2/team/app/manifests/${how ?? reference}`);
  if (how !== undefined) await mirror.get(`/v2/team/app/manifests/${reference}`);
  for (const { digest } of [of.config, ...of.layers]) await mirror.get(`/v2/team/app/blobs/${digest}`);
  // The file comes first, then its row of the index.
  for (const { digest } of [of.config, ...of.layers]) while (!(await isIndexed(mirror, digest))) await turn();
  for (;;) {
    const { unready } = await readiness(mirror);
    const awaited = [of.digest, of.config.digest, ...of.layers.map(({ digest }) => digest)] as string[];
    if (!unready.some(({ obstacles }) => obstacles.some(({ digest }) => awaited.includes(digest)))) return;
    await turn();
  }
}

async function isIndexed({ ops }: Mirror, digest: Digest): Promise<boolean> {
  const answer = await fetch(new URL(`/explain.json?reference=team/app@${digest}`, ops));
  const { parts } = (await answer.json()) as Explanation & { kind: "explained" };
  return parts[0]?.usedAt !== null;
}

function fileOf({ directory }: Mirror, digest: Digest): string {
  const hex = digestHex(digest);
  return join(directory, "blobs/sha256", hex.slice(0, 2), hex);
}

t.test("an image that was pulled is ready until a layer is deleted from the store by hand", async (t) => {
  const { mirror, clock, upstream } = await start(t);
  t.match(await readiness(mirror), {
    schema: 1,
    days: 7,
    pulled: 0,
    ready: 0,
    truncated: false,
    unready: [],
  });
  await pull(mirror, "1.0", image);
  upstream.forget();
  t.match(await readiness(mirror), { pulled: 1, ready: 1, unready: [] });
  const [layer] = image.layers as [(typeof image.layers)[0]];
  await unlink(fileOf(mirror, layer.digest));
  t.strictSame(await readiness(mirror), {
    schema: 1,
    at: clock.now,
    days: 7,
    nodes: 1,
    pulled: 1,
    ready: 0,
    truncated: false,
    silentNodes: [],
    unready: [
      {
        digest: image.digest,
        names: ["upstream/team/app:1.0"],
        usedAt: clock.now,
        obstacles: [
          { kind: "missing", role: "layer", digest: layer.digest, platform: null, sizeBytes: 100_000 },
        ],
      },
    ],
  });
  t.equal(upstream.requests.length, 0, "upstream is not asked");
  await pull(mirror, "1.0", image);
  t.match(await readiness(mirror), { pulled: 1, ready: 1 });
});

t.test("a file that was cut is no part of an image", async (t) => {
  const { mirror } = await start(t);
  await pull(mirror, "1.0", image);
  // The look at a new store after the start, which takes damaged files out of it, is not to come across this one.
  await mirror.line(({ msg }) => msg === "made the index agree with the store");
  const [, layer] = image.layers as [(typeof image.layers)[0], (typeof image.layers)[0]];
  await truncate(fileOf(mirror, layer.digest), 1_000);
  t.match(await readiness(mirror), {
    ready: 0,
    unready: [{ obstacles: [{ kind: "damaged", digest: layer.digest }] }],
  });
});

t.test("only what was pulled in these days counts, and asking is no use", async (t) => {
  const { mirror, clock } = await start(t);
  await pull(mirror, "1.0", image);
  clock.advance(3 * day);
  await pull(mirror, "2.0", other);
  t.match(await readiness(mirror), { pulled: 2, ready: 2 });
  t.match(await readiness(mirror, 1), { pulled: 1, ready: 1, days: 1 });
  clock.advance(5 * day);
  t.match(await readiness(mirror), { pulled: 1 });
  clock.advance(5 * day);
  t.match(await readiness(mirror), { pulled: 0 });
});

t.test("of an index the images that were pulled are needed, no others", async (t) => {
  const { mirror, upstream } = await start(t);
  const manifests = [image, other].map(({ digest, manifest, mediaType }, at) => ({
    digest,
    size: manifest.length,
    mediaType,
    platform: { os: "linux", architecture: ["amd64", "arm64"][at] },
  }));
  const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
  upstream.addManifest("team/app", "multi", body, indexType);
  await mirror.get("/v2/team/app/manifests/multi");
  t.match(await readiness(mirror), {
    pulled: 1,
    ready: 0,
    unready: [{ obstacles: [{ role: "manifest" }, {}] }],
  });
  await pull(mirror, image.digest, image, "multi");
  t.match(await readiness(mirror), { pulled: 1, ready: 1 });
  const [layer] = image.layers as [(typeof image.layers)[0]];
  await unlink(fileOf(mirror, layer.digest));
  t.match(await readiness(mirror), {
    pulled: 1,
    ready: 0,
    unready: [
      {
        digest: digestOf(body),
        names: ["upstream/team/app:multi"],
        obstacles: [{ kind: "missing", digest: layer.digest, platform: "linux/amd64" }],
      },
    ],
  });
});

t.test("an attestation that was pulled is needed with the image, and is not the image", async (t) => {
  const { mirror, upstream } = await start(t);
  const manifests = [image, other].map(({ digest, manifest, mediaType }, at) => ({
    digest,
    size: manifest.length,
    mediaType,
    platform: { os: ["linux", "unknown"][at], architecture: ["amd64", "unknown"][at] },
  }));
  const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
  upstream.addManifest("team/app", "multi", body, indexType);
  await pull(mirror, other.digest, other, "multi");
  t.match(await readiness(mirror), {
    ready: 0,
    unready: [{ digest: digestOf(body), obstacles: [{ digest: image.digest, platform: "linux/amd64" }] }],
  });
  await pull(mirror, image.digest, image, "multi");
  t.match(await readiness(mirror), { pulled: 1, ready: 1 });
  const [layer] = other.layers as [(typeof image.layers)[0]];
  await unlink(fileOf(mirror, layer.digest));
  t.match(await readiness(mirror), { ready: 0, unready: [{ obstacles: [{ digest: layer.digest }] }] });
});

t.test("an answer that does not know of all, or did not look at all, is none for metrics", async (t) => {
  let partial = true;
  let more = false;
  const used = { digest: image.digest, size: 1, mediaType: image.mediaType, usedAt: 1 };
  const check = new ReadinessCheck({
    graph: {
      parts: () => [],
      pulled: () => ({ manifests: [], next: more ? used : undefined }),
      referrers: () => [],
      users: () => ({ manifests: [], tags: [], repositories: [], truncated: false }),
    },
    index: { get: () => undefined, usedAt: () => undefined },
    store: { info: async () => undefined },
    elsewhere: () => async () => new Map(),
    neighbours: () => undefined,
    tags: { get: async () => undefined },
    linked: () => true,
    passesThrough: () => false,
    freshness: () => ({ ttl: () => 0, state: () => "fresh" }),
    clock: () => 5,
    partial: () => partial,
  });
  const lastAfter = async () => {
    await check.run(7);
    return check.last;
  };
  t.equal(await lastAfter(), undefined, "partial");
  partial = false;
  t.match(await lastAfter(), { pulled: 0, truncated: false });
  more = true;
  t.equal(await lastAfter(), undefined, "truncated");
});

t.test("the referrers that were pulled with an image are part of it", async (t) => {
  const { mirror, upstream } = await start(t);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const signature = Buffer.from("a signature");
  const body = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      artifactType: "application/vnd.example.signature",
      config: { mediaType: "application/json", digest: image.config.digest, size: image.config.bytes.length },
      layers: [{ mediaType: "application/json", digest: digestOf(signature), size: signature.length }],
      subject: { mediaType, digest: image.digest, size: image.manifest.length },
    }),
  );
  upstream.addManifest("team/app", "signature", body, mediaType);
  await pull(mirror, "1.0", image);
  await mirror.get(`/v2/team/app/manifests/${digestOf(body)}`);
  t.match(await readiness(mirror), {
    pulled: 1,
    ready: 0,
    unready: [{ digest: image.digest, obstacles: [{ kind: "missing", digest: digestOf(signature) }] }],
  });
});

t.test("a tag that may not be served without upstream any more is told", async (t) => {
  const { mirror, clock } = await start(t, {
    tags: { ttl: 1_000, staleIfError: 2_000, refreshAhead: 0, staleWhileRevalidate: 0, rules: [] },
  });
  await pull(mirror, "1.0", image);
  clock.advance(1_500);
  t.match(await readiness(mirror), { ready: 1 });
  clock.advance(2_000);
  t.match(await readiness(mirror), {
    ready: 0,
    unready: [{ obstacles: [{ kind: "tag_expired", digest: image.digest }] }],
  });
});

t.test("what is no number of days is refused", async (t) => {
  const { mirror } = await start(t);
  for (const days of ["0", "366", "x", "-1", "1e3", "", "0.5", "1.0001", "0x7"]) {
    const answer = await fetch(new URL(`/api/v1/readiness?days=${days}`, mirror.ops));
    t.equal(answer.status, 400, days);
    t.match(await answer.text(), /expected a whole number from 1 to 365/);
  }
  t.equal(daysOf(null), undefined);
  t.equal(daysOf("365"), 365);
});

/** Of images without parts that were pulled, and are not on the disk. */
function parts(images: readonly Image[]): ReadinessOptions {
  return {
    clock: () => 0,
    freshness: () => ({ ttl: () => 0, state: () => "fresh" }),
    graph: {
      pulled: (usedAt) => ({
        manifests: images.map(({ digest, mediaType }) => ({ digest, mediaType, size: 1, usedAt })),
        next: undefined,
      }),
      users: () => ({
        manifests: [],
        tags: [],
        repositories: [{ upstream: "hub", repository: "team/app" as Repository }],
        truncated: false,
      }),
      parts: () => [],
      referrers: () => [],
    },
    index: { get: () => undefined, usedAt: () => undefined },
    tags: { get: async () => undefined },
    linked: () => true,
    passesThrough: () => false,
    store: { info: async () => undefined },
    elsewhere: () => async () => new Map(),
    neighbours: () => undefined,
    partial: () => false,
  };
}

t.test("what is in S3 is ready, and of what S3 has not said it is not known", async (t) => {
  const missing = makeImage({ layers: [10], seed: "missing" });
  let begun = 0;
  const check = new ReadinessCheck({
    ...parts([image, other, missing]),
    elsewhere: () => {
      begun++;
      return async (digests) => {
        const known = digests.filter((digest) => digest !== other.digest);
        return new Map(known.map((digest) => [digest, digest === image.digest ? ["s3"] : []]));
      };
    },
  });
  t.match(await check.run(7), {
    pulled: 3,
    ready: 1,
    unready: [
      { digest: other.digest, obstacles: [{ kind: "unknown", role: "manifest", digest: other.digest }] },
      { digest: missing.digest, obstacles: [{ kind: "missing" }] },
    ],
  });
  t.equal(begun, 1, "its bounds are for all of the answer");
});

t.test("one answer is made at a time, a few wait, and what is more is refused", async (t) => {
  const made: number[] = [];
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const clock = () => 400 * day;
  const check = new ReadinessCheck({
    ...parts([image]),
    clock,
    graph: {
      ...parts([image]).graph,
      pulled: (since, after, limit) => {
        made.push((clock() - since) / day);
        most = Math.max(most, ++running);
        return parts([image]).graph.pulled(since, after, limit);
      },
    },
    store: {
      info: async () => {
        await opened;
        running--;
        return undefined;
      },
    },
  });
  const asked = [1, 2, 3, 4, 1, 4].map((days) => check.run(days));
  t.equal(await check.run(5), undefined, "no more than three wait");
  open();
  t.strictSame(
    (await Promise.all(asked)).map((found) => found?.days),
    [1, 2, 3, 4, 1, 4],
  );
  t.strictSame(made, [1, 2, 3, 4]);
  t.equal(most, 1);
  t.match(await check.run(5), { days: 5 });
});

t.test("of one node the images of its indexes count that clients had through another one", async (t) => {
  const index = digestOf(Buffer.from("index"));
  const [layer] = image.layers as [(typeof image.layers)[0]];
  const named = { expired: false, unproved: [] };
  const part = (digest: Digest, role: "manifest" | "layer") => ({ digest, role, size: 5, platform: null });
  const page: ReportedPage = {
    images: [
      {
        ...{ digest: image.digest, usedAt: 1, children: [], needsChild: false },
        names: [{ ...named, text: `hub/team/app@${image.digest}` }],
        parts: [part(image.digest, "manifest"), part(layer.digest, "layer")],
      },
      {
        ...{ digest: other.digest, usedAt: 1, children: [], needsChild: false },
        names: [{ ...named, text: "hub/team/app:2.0" }],
        parts: [part(other.digest, "manifest")],
      },
    ],
    next: null,
  };
  const held = new Set([image.digest, layer.digest]);
  let answers = true;
  const answer = async <T>(value: T): Promise<T> => {
    if (!answers) throw new Error("no answer");
    return value;
  };
  const nodes = { reported: () => answer(page), holding: () => answer(held) } as unknown as OtherNodes;
  const platforms = { [image.digest]: "linux/amd64", [digestOf(Buffer.from("arm64"))]: "linux/arm64" };
  const own = parts([]);
  const check = new ReadinessCheck({
    ...own,
    graph: {
      ...own.graph,
      pulled: (usedAt) => ({
        manifests: [{ digest: index, mediaType: indexType, size: 1, usedAt }],
        next: undefined,
      }),
      parts: () =>
        Object.entries(platforms).map(([digest, platform]) => {
          return { digest: digest as Digest, role: "manifest", size: 5, platform, usedAt: undefined };
        }),
    },
    store: { info: async (digest) => (digest === index ? { digest, size: 1, modifiedAt: 0 } : undefined) },
    neighbours: () => ({ nodes, list: () => [{ name: "b", address: "http://b.test" }] }),
  });
  t.match(await check.run(7, "node"), { nodes: 2, pulled: 1, ready: 1, unready: [] });
  t.match(check.last, { pulled: 1, ready: 1 });
  t.match(await check.run(7), { pulled: 2, ready: 1, unready: [{ digest: other.digest }] });
  t.match(
    check.last,
    { pulled: 1 },
    "metrics are of the node: Prometheus would add what two nodes say of one image",
  );
  answers = false;
  const silent = await check.run(7, "node");
  t.match(silent, {
    nodes: 1,
    ready: 0,
    silentNodes: ["b"],
    unready: [{ obstacles: [{ kind: "unknown" }, {}] }],
  });
  t.equal(check.last, undefined, "what may be at a node that is silent is not known");
});

/** Another node, `b`, which gives `page` and holds these. */
function neighbourWith(
  images: ReportedPage["images"],
  held: readonly Digest[],
): ReadinessOptions["neighbours"] {
  const nodes = {
    reported: async () => ({ images, next: null }),
    holding: async () => new Set(held),
  } as unknown as OtherNodes;
  return () => ({ nodes, list: () => [{ name: "b", address: "http://b.test" }] });
}

const onDisk = { info: async (digest: Digest) => ({ digest, size: 1, modifiedAt: 0 }) };

t.test("of an upstream that says itself who may read nothing is ready", async (t) => {
  const own = { ...parts([image]), store: onDisk };
  t.match(await new ReadinessCheck(own).run(7), { pulled: 1, ready: 1 });
  const passesThrough = (upstream: string) => upstream === "hub";
  const unready = [{ obstacles: [{ kind: "unproved", digest: image.digest }] }];
  t.match(await new ReadinessCheck({ ...own, passesThrough }).run(7), { ready: 0, unready });
  const neighbours = neighbourWith([], [image.digest]);
  t.match(await new ReadinessCheck({ ...own, passesThrough, neighbours }).run(7), { ready: 0, unready });
});

t.test("a node that has never heard of a part does not prove that the repository has it", async (t) => {
  const [layer] = image.layers as [(typeof image.layers)[0]];
  const part = { digest: layer.digest, role: "layer", size: 5, platform: null } as const;
  const text = `hub/team/app@${image.digest}`;
  const theirs = {
    ...{ digest: image.digest, usedAt: 1, children: [], needsChild: false },
    names: [{ text, expired: false, unproved: [layer.digest] }],
    parts: [{ ...part, digest: image.digest, role: "manifest" } as const, part],
  };
  const own = parts([image]);
  const options = {
    ...own,
    store: {
      info: (digest: Digest) => (digest === layer.digest ? own.store.info(digest) : onDisk.info(digest)),
    },
    neighbours: neighbourWith([theirs], [image.digest, layer.digest]),
  };
  t.match(await new ReadinessCheck(options).run(7), {
    ready: 0,
    unready: [{ names: [text], obstacles: [{ kind: "unproved", digest: layer.digest }] }],
  });
  const graph = {
    ...own.graph,
    parts: () => [{ ...part, size: 5, platform: undefined, usedAt: undefined }],
  };
  t.match(await new ReadinessCheck({ ...options, graph }).run(7), { ready: 1 }, "one that knows of it does");
});

t.test("what was found of an image counts, however much is looked at after it", async (t) => {
  let made = 0;
  const next = () => `sha256:${(made++).toString(16).padStart(64, "0")}` as Digest;
  const images = Array.from({ length: 140 }, (_, at) => {
    // More than is remembered, which is over in the middle of the last 40.
    const digests = Array.from({ length: at < 100 ? 1_500 : 2_000 }, next);
    return {
      ...{ digest: digests[0] as Digest, usedAt: at, children: [], needsChild: false, names: [] },
      parts: digests.map((digest) => ({ digest, role: "layer", size: 1, platform: null }) as const),
    };
  });
  const cut = images[100]?.parts[7]?.digest as Digest;
  const row = { size: 2 } as ReturnType<ReadinessOptions["index"]["get"]>;
  const check = new ReadinessCheck({
    ...parts([]),
    graph: { ...parts([]).graph, pulled: () => ({ manifests: [], next: undefined }) },
    index: { get: (digest) => (digest === cut ? row : undefined), usedAt: () => undefined },
    store: onDisk,
    neighbours: neighbourWith(images, []),
  });
  const { unready } = (await check.run(7)) ?? { unready: [] };
  const found = unready.filter(({ obstacles }) => obstacles.some(({ kind }) => kind !== "unproved"));
  t.match(found, [{ digest: images[100]?.digest, obstacles: [{ kind: "damaged", digest: cut }] }]);
  t.equal(found.length, 1);
});
