// What is fetched ahead, over a real store and index, with an upstream in memory and time that stands still.
import t, { type Test } from "tap";
import { DeniedDigests } from "../../../src/cache/denied-digests.ts";
import { Prefetch, type PrefetchOptions } from "../../../src/cache/prefetch/prefetch.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { type OnBehalfOf, remoteRepository, UpstreamError } from "../../../src/ports/upstream.ts";
import { type CacheFixture, openCache } from "../../fixtures/cache-fixture.ts";
import { type Image, makeImage } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import { repo } from "../../fixtures/memory-upstream.ts";

const app = repo("team/app");
const kilobyte = 1_000;
const image = makeImage({ seed: "app", layers: Array.from({ length: 4 }, () => 100 * kilobyte) });
const layers = image.layers.map(({ digest }) => digest);

interface Client {
  /** Asks for the manifest. */
  manifest(digest: Digest): Promise<void>;
  /** Begins to ask for a blob, as the handler does, and resolves when it is all there. */
  blob(digest: Digest): { readonly whole: Promise<number | undefined>; leave(): void };
}

interface Fixture {
  readonly cache: CacheFixture;
  readonly prefetch: Prefetch;
  client(address: string, tagFilter?: (tag: string) => boolean): Client;
  /** Digests whose bytes upstream was asked for, each as often as that. */
  fetched(): readonly string[];
  results(): readonly string[];
}

async function start(t: Test, options: Partial<PrefetchOptions> = {}): Promise<Fixture> {
  const cache = await openCache(t);
  const { clock, index, upstream, notices } = cache;
  const denied = new DeniedDigests(index.graph, (notice) => notices.push(notice));
  const prefetch = new Prefetch({
    ...cache,
    graph: index.graph,
    denies: (...asked) => denied.denies(...asked),
    mayGrow: (bytes) => cache.eviction.mayGrow(bytes),
    bytesAhead: () => 16e6,
    cacheSize: () => 1e12,
    notices: (notice) => notices.push(notice),
    clock: clock.read,
    ...options,
  });
  add(cache, "1", image);
  return {
    cache,
    prefetch,
    client: (address, tagFilter) => clientOf({ cache, prefetch }, address, tagFilter),
    fetched: () =>
      upstream.calls.filter((call) => call.startsWith("GET blob")).map((call) => call.split(" ")[3] ?? ""),
    results: () =>
      notices.flatMap((notice) =>
        notice.kind === "prefetch"
          ? `${notice.result} ${layers.indexOf(notice.digest as Digest)} ${notice.bytes}`
          : [],
      ),
  };
}

function add({ upstream }: CacheFixture, tag: string, { manifest, mediaType, config, layers }: Image): void {
  upstream.addManifest(app, tag, manifest, mediaType);
  for (const { bytes } of [config, ...layers]) upstream.addBlob(app, bytes);
}

function clientOf(
  { cache, prefetch }: Pick<Fixture, "cache" | "prefetch">,
  address: string,
  tagFilter?: (tag: string) => boolean,
): Client {
  const onBehalfOf: OnBehalfOf = { key: address, exempt: false };
  const remote = remoteRepository(cache.upstream, app, onBehalfOf);
  return {
    async manifest(digest) {
      const opened = await cache.manifests.open(remote, { kind: "digest", digest });
      if (opened.kind === "found" && !("reader" in opened)) prefetch.answered(remote, opened.digest);
    },
    blob(digest) {
      const listeners: (() => void)[] = [];
      const onOver = (listener: () => void): void => void listeners.push(listener);
      const leave = (): void => {
        for (const listener of listeners.splice(0)) listener();
      };
      const ask = async (): Promise<number | undefined> => {
        prefetch.asked(remote, digest, onOver);
        const request = { remote, digest, tagFilter, onOver };
        const opened = await cache.blobs.open(remote, digest, "whole", {
          enter: () => undefined,
          started: () => void prefetch.missed(request),
          joined: () => void prefetch.joined(request),
        });
        if (opened.kind !== "found") return undefined;
        await opened.reader.arrived?.(opened.size ?? 0);
        await opened.reader.close();
        leave();
        return opened.size;
      };
      return { whole: ask(), leave };
    },
  };
}

/** Upstream answers nothing about the blob before the returned function is called. */
function hold({ upstream }: CacheFixture, held: readonly Digest[]): () => void {
  const until = gate();
  upstream.fault = async (call) => {
    if (held.some((digest) => call.includes(digest))) await until.opened;
  };
  return until.open;
}

t.test("from the first layer on the others come, each once", async (t) => {
  const { cache, client, fetched, results } = await start(t);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  await docker.blob(image.config.digest).whole;
  await quiet();
  t.same(fetched(), [image.config.digest], "the config says nothing of what the client has");
  const release = hold(cache, layers);
  const first = docker.blob(layers[0] as Digest);
  await eventually("all are asked for", () => fetched().length === 5);
  t.same(fetched().slice(1).toSorted(), layers.toSorted());
  t.equal(fetched()[1], layers[0], "what the client waits for is asked for first");
  release();
  await first.whole;
  for (const digest of layers.slice(1)) t.equal(await docker.blob(digest).whole, 100 * kilobyte);
  t.equal(fetched().length, 5);
  t.same(
    results(),
    [1, 2, 3].map((at) => `used ${at} 100000`),
  );
});

t.test("requests that come together with the first leave nothing out", async (t) => {
  const { client, fetched, results } = await start(t);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  await Promise.all(layers.slice(0, 2).map((digest) => docker.blob(digest).whole));
  for (const digest of layers.slice(2)) await docker.blob(digest).whole;
  t.same(fetched().toSorted(), layers.toSorted());
  t.same(
    results().filter((result) => result.startsWith("unused")),
    [],
  );
  t.same(
    results().filter((result) => /^used [23]/.test(result)),
    [2, 3].map((at) => `used ${at} 100000`),
  );
});

t.test("a client that begins in the middle has what is before that", async (t) => {
  const { cache, client, fetched } = await start(t);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  const release = hold(cache, layers);
  const pull = docker.blob(layers[1] as Digest);
  await eventually("the ones behind it", () => fetched().length === 3);
  await quiet();
  t.same(fetched().toSorted(), layers.slice(1).toSorted());
  release();
  await pull.whole;
});

t.test(
  "a layer that seems left out comes to its end, and nothing else begins: its request may be late",
  async (t) => {
    const many = makeImage({ seed: "late", layers: Array.from({ length: 9 }, () => 100 * kilobyte) });
    const parts = many.layers.map(({ digest }) => digest);
    const { cache, client, fetched } = await start(t, { bytesAhead: () => 350 * kilobyte });
    add(cache, "many", many);
    const docker = client("10.0.0.1");
    await docker.manifest(many.digest);
    const release = hold(cache, parts.slice(1, 2));
    const first = docker.blob(parts[0] as Digest);
    await eventually("three are ahead", () => fetched().length === 4);
    await eventually("all but the held one are here", () => cache.blobs.fills.length === 1);
    for (const digest of parts.slice(2, 4)) await docker.blob(digest).whole;
    await quiet();
    t.equal(fetched().length, 4, "nothing else began");
    const late = docker.blob(parts[1] as Digest);
    release();
    t.equal(await late.whole, 100 * kilobyte);
    await first.whole;
    t.equal(fetched().length, 4, "and it crossed the link once");
  },
);

t.test("what comes behind a skipped layer goes on, and is used when it is asked for", async (t) => {
  const { cache, client, fetched, results } = await start(t, { bytesAhead: () => 350 * kilobyte });
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  const release = hold(cache, [layers[0], layers[3]] as Digest[]);
  const first = docker.blob(layers[0] as Digest);
  await eventually("all are asked for", () => fetched().length === 4);
  await eventually("two of them are here", () => cache.blobs.fills.length === 2);
  await docker.blob(layers[2] as Digest).whole;
  const last = docker.blob(layers[3] as Digest);
  release();
  t.equal(await last.whole, 100 * kilobyte);
  await first.whole;
  t.equal(fetched().length, 4);
  t.same(results(), ["used 2 100000", "used 3 100000"]);
});

t.test("a layer that another node reads here is not left out", async (t) => {
  const many = makeImage({ seed: "nodes", layers: Array.from({ length: 7 }, () => 100 * kilobyte) });
  const parts = many.layers.map(({ digest }) => digest);
  const options = { bytesAhead: () => 250 * kilobyte };
  const { cache, client, prefetch, fetched } = await start(t, options);
  add(cache, "many", many);
  const docker = client("10.0.0.1");
  await docker.manifest(many.digest);
  const release = hold(cache, [parts[0], parts[3]] as Digest[]);
  const first = docker.blob(parts[0] as Digest);
  await eventually("two are ahead", () => fetched().length === 3);
  prefetch.askedByNode(remoteRepository(cache.upstream, app), parts[1] as Digest);
  await docker.blob(parts[2] as Digest).whole;
  const last = docker.blob(parts[3] as Digest);
  await eventually("it goes on", () => fetched().length === 6);
  t.same(fetched().slice(4).toSorted(), parts.slice(4, 6).toSorted());
  release();
  await Promise.all([first.whole, last.whole]);
});

t.test("when the client has gone nothing more begins", async (t) => {
  const many = makeImage({ seed: "many", layers: Array.from({ length: 20 }, () => 10) });
  const { cache, client, fetched } = await start(t);
  add(cache, "many", many);
  const docker = client("10.0.0.1");
  await docker.manifest(many.digest);
  const release = hold(
    cache,
    many.layers.map(({ digest }) => digest),
  );
  const first = docker.blob(many.layers[0]?.digest as Digest);
  await eventually("three are ahead", () => fetched().length === 4);
  await quiet();
  t.equal(fetched().length, 4);
  first.leave();
  release();
  await eventually("all are here", () => cache.blobs.fills.length === 0);
  await quiet();
  t.equal(fetched().length, 4);
  await first.whole;
  await docker.blob(many.layers[1]?.digest as Digest).whole;
  await eventually("it goes on", () => fetched().length >= 8);
  await quiet();
  t.equal(fetched().length, 8, "it has come back: six may be ahead now, of which two are here");
});

t.test("bytes ahead are bounded: of an image, and of all by the cache", async (t) => {
  for (const options of [{ bytesAhead: () => 250 * kilobyte }, { cacheSize: () => 16 * 250 * kilobyte }]) {
    await t.test(Object.keys(options).join(), async (t) => {
      const { cache, client, fetched } = await start(t, options);
      const docker = client("10.0.0.1");
      await docker.manifest(image.digest);
      const release = hold(cache, layers);
      const first = docker.blob(layers[0] as Digest);
      await eventually("two ahead", () => fetched().length === 3);
      await quiet();
      t.equal(fetched().length, 3);
      const second = docker.blob(layers[1] as Digest);
      await eventually("one more", () => fetched().length === 4);
      release();
      await Promise.all([first.whole, second.whole]);
    });
  }
});

t.test("nothing begins where it may not", async (t) => {
  const cases: Record<string, (fixture: Fixture) => Partial<PrefetchOptions> | undefined> = {
    "the setting is 0": () => ({ bytesAhead: () => 0 }),
    "no room that is free": () => ({ mayGrow: async () => false }),
    "the store cannot say": () => ({ mayGrow: async () => Promise.reject(new Error("gone")) }),
    "upstream is away": ({ cache }) => void Object.assign(cache.upstream, { available: false }),
    "upstream wants to be left alone": ({ cache }) => void Object.assign(cache.upstream, { allowance: 0 }),
    "no connection is free": ({ cache }) => void Object.assign(cache.upstream, { spare: false }),
  };
  for (const [name, change] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      let options: Partial<PrefetchOptions> = {};
      const fixture = await start(t, {
        bytesAhead: () => options.bytesAhead?.() ?? 16e6,
        mayGrow: (bytes) => options.mayGrow?.(bytes) ?? Promise.resolve(true),
      });
      options = change(fixture) ?? {};
      const docker = fixture.client("10.0.0.1");
      await docker.manifest(image.digest);
      t.equal(await docker.blob(layers[0] as Digest).whole, 100 * kilobyte);
      await quiet();
      t.same(fixture.fetched(), [layers[0]]);
    });
  }
});

t.test("nothing begins while another client waits for something else of that upstream", async (t) => {
  const other = makeImage({ seed: "other", layers: [10] });
  const { cache, client, fetched } = await start(t);
  add(cache, "other", other);
  const otherLayer = other.layers[0]?.digest as Digest;
  const release = hold(cache, [otherLayer]);
  const waiting = client("10.0.0.2").blob(otherLayer);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  await docker.blob(layers[0] as Digest).whole;
  await quiet();
  t.same(fetched(), [otherLayer, layers[0]]);
  release();
  await waiting.whole;
  await eventually("it is no fill any more", () => cache.blobs.fills.length === 0);
  const last = hold(cache, layers);
  const second = docker.blob(layers[1] as Digest);
  await eventually("then it begins", () => fetched().length === 5);
  last();
  await second.whole;
});

t.test("another client of the same layers is no reason to wait", async (t) => {
  const { cache, client, fetched } = await start(t);
  const [one, other] = [client("10.0.0.1"), client("10.0.0.2")];
  await one.manifest(image.digest);
  await other.manifest(image.digest);
  const release = hold(cache, layers);
  const pulls = [one.blob(layers[0] as Digest), other.blob(layers[0] as Digest)];
  await eventually("all come", () => fetched().length === 4);
  release();
  await Promise.all(pulls.map(({ whole }) => whole));
});

/** Another image of the repository, with the same first layer and one of its own. Gives its manifest and that layer. */
function addSecond({ upstream }: CacheFixture): { readonly manifest: Digest; readonly own: Digest } {
  const body = JSON.parse(image.manifest.toString());
  const bytes = Buffer.from("a layer of its own");
  const own = upstream.addBlob(app, bytes);
  const layers = [body.layers[0], { ...body.layers[0], digest: own, size: bytes.length }];
  const text = JSON.stringify({ ...body, layers });
  return { manifest: upstream.addManifest(app, "2", Buffer.from(text), image.mediaType), own };
}

t.test("the image is the one that the client was given last", async (t) => {
  const { cache, client, fetched } = await start(t);
  const second = addSecond(cache);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  await docker.manifest(second.manifest);
  const release = hold(cache, layers);
  const pull = docker.blob(layers[0] as Digest);
  await eventually("its other layer", () => fetched().length === 2);
  await quiet();
  t.same(fetched(), [layers[0], second.own]);
  release();
  await pull.whole;
});

t.test("of a client that was given none it is the only one with the layer, or unknown", async (t) => {
  const { cache, client, fetched } = await start(t);
  const second = addSecond(cache);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  await docker.manifest(second.manifest);
  const other = client("10.0.0.2");
  await other.blob(layers[0] as Digest).whole;
  await quiet();
  t.same(fetched(), [layers[0]], "two have it");
  const release = hold(cache, layers);
  const pull = other.blob(layers[2] as Digest);
  await eventually("only one has this one", () => fetched().length === 3);
  t.same(fetched().slice(1), layers.slice(2));
  release();
  await pull.whole;
});

t.test("a denied layer is not fetched, nor any behind it", async (t) => {
  const { cache, client, fetched } = await start(t);
  const docker = client("10.0.0.1", (tag) => tag !== "1");
  const remote = remoteRepository(cache.upstream, app);
  await cache.manifests.open(remote, { kind: "tag", tag: "1" as never });
  await docker.manifest(image.digest);
  await docker.blob(layers[0] as Digest).whole;
  await quiet();
  t.same(fetched(), [layers[0]]);
});

t.test("after a failure upstream is left alone as long as it says", async (t) => {
  const { cache, client, fetched } = await start(t, { bytesAhead: () => 150 * kilobyte });
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  cache.upstream.fault = (call) => {
    if (call.includes(layers[1] as Digest))
      throw new UpstreamError("rate_limited", "slow down", { retryAfter: 30 });
  };
  await docker.blob(layers[0] as Digest).whole;
  await eventually("the next was asked for", () => fetched().length >= 2);
  await eventually("that has failed", () => cache.blobs.fills.length === 0);
  await quiet();
  t.same(fetched(), layers.slice(0, 2));
  cache.upstream.fault = undefined;
  const other = client("10.0.0.2");
  await other.manifest(image.digest);
  cache.clock.advance(29_000);
  await other.blob(layers[1] as Digest).whole;
  await quiet();
  t.equal(fetched().length, 3);
  cache.clock.advance(1_000);
  const release = hold(cache, layers);
  const pull = other.blob(layers[2] as Digest);
  await eventually("then one more", () => fetched().length === 5);
  t.same(fetched().slice(3), layers.slice(2, 4));
  release();
  await pull.whole;
});

t.test("what nobody has asked for within ten minutes is told as unused", async (t) => {
  const { cache, client, results } = await start(t);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  await docker.blob(layers[0] as Digest).whole;
  await eventually("what has begun is here", () => cache.blobs.fills.length === 0);
  await client("10.0.0.2").blob(layers[1] as Digest).whole;
  t.same(results(), ["used 1 100000"], "whoever asks for it uses it");
  cache.clock.advance(600_001);
  await client("10.0.0.3").blob(image.config.digest).whole;
  await eventually("both are told", () => results().length >= 3);
  await quiet();
  t.same(results().slice(1), ["unused 2 100000", "unused 3 100000"]);
});

t.test("an image that is here costs nothing", async (t) => {
  const { cache, client, fetched, results } = await start(t);
  const docker = client("10.0.0.1");
  await docker.manifest(image.digest);
  for (const digest of layers) await docker.blob(digest).whole;
  await eventually("all of it is stored", () => cache.blobs.fills.length === 0);
  const { length } = fetched();
  const used = results().length;
  const other = client("10.0.0.2");
  await other.manifest(image.digest);
  for (const digest of layers) await other.blob(digest).whole;
  await quiet();
  t.equal(fetched().length, length);
  t.equal(results().length, used);
  t.equal(cache.blobs.fills.length, 0);
});
