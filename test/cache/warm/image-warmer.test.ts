// How an image is walked, with what answers in memory: which questions are asked at once, and how often.
import t from "tap";
import { ImageWarmer, type ImageWarmerOptions, maxAttempts } from "../../../src/cache/warm/image-warmer.ts";
import { WarmProgress } from "../../../src/cache/warm/warm-progress.ts";
import { type Reference, referenceText } from "../../../src/oci/reference.ts";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import { app } from "../../fixtures/blob-clients.ts";
import { type Image, type Index, makeImage, makeIndex } from "../../fixtures/images.ts";
import { ManualPause, quiet } from "../../fixtures/manual-time.ts";
import { MemoryUpstream, tagOf } from "../../fixtures/memory-upstream.ts";

const images = Array.from({ length: 6 }, (_, at) => makeImage({ layers: [10], seed: `image ${at}` }));

/** An upstream that has an index under every tag made of digits, and nothing that refers to it. */
function setUp() {
  const index = makeIndex(images);
  const byDigest = new Map<string, Image | Index>([index, ...images].map((each) => [each.digest, each]));
  const upstream = new MemoryUpstream();
  const time = new ManualPause();
  time.instant = () => true;
  const state = { running: 0, most: 0, asked: [] as string[], isAway: (_: string) => false };
  const ask = async <T>(what: string, answer: () => T): Promise<T> => {
    state.asked.push(what);
    if (state.isAway(what)) throw new UpstreamError("unreachable", "upstream up is away");
    return answer();
  };
  const question = async <T>(what: string, answer: () => T): Promise<T> => {
    state.most = Math.max(state.most, ++state.running);
    await quiet(2);
    state.running--;
    return await ask(what, answer);
  };
  const options = {
    manifests: {
      open: (_: unknown, reference: Reference) =>
        question(referenceText(reference), () => {
          const text = referenceText(reference);
          const found = /^\d+$/.test(text) ? index : byDigest.get(text);
          if (found === undefined) return { kind: "absent" };
          const { digest, mediaType, manifest: body } = found;
          return { kind: "found", result: "miss", digest, mediaType, body };
        }),
    },
    listings: { referrers: () => question("referrers", () => ({ kind: "absent" })) },
    blobs: {
      fillings: [],
      open: (_: unknown, digest: string) => ask(`blob ${digest}`, () => ({ kind: "elsewhere", size: 10 })),
    },
    local: { indexed: () => true },
    denies: () => false,
    pause: time.pause,
  } as unknown as ImageWarmerOptions;
  const warmer = new ImageWarmer(options);
  const away = new Set<string>();
  const target = {
    upstream,
    repository: app,
    allowed: true,
    onAbsent: false,
    onDenied: false,
    onFailure: false,
  };
  const warm = async (tag: string): Promise<WarmProgress> => {
    const progress = new WarmProgress();
    const reference = { kind: "tag", tag: tagOf(tag) } as const;
    const { signal } = new AbortController();
    await warmer.warm({ targets: [target], reference, platforms: [], away }, progress, signal);
    return progress;
  };
  return { warm, state, time };
}

t.test("however many images are under way, four questions for manifests and lists are", async (t) => {
  const { warm, state } = setUp();
  const all = await Promise.all(["1", "2", "3", "4"].map(warm));
  for (const { failed, count } of all) t.same({ failed, count }, { failed: 0, count: 1 + 3 * images.length });
  t.equal(state.most, 4);
});

t.test("after an outage that outlasted all attempts there is one each, until something comes", async (t) => {
  const { warm, state } = setUp();
  const [layer, second] = images.flatMap(({ layers }) => layers.map(({ digest }) => digest));
  const times = (what: string) => state.asked.filter((each) => each === what).length;
  state.isAway = () => true;
  t.match(await warm("1"), { failed: 1, retries: maxAttempts - 1 });
  t.match(await warm("2"), { failed: 1, retries: 0 });
  t.equal(times("2"), 1);
  state.isAway = (what) => what === `blob ${layer}`;
  t.match(await warm("3"), { failed: 1, retries: maxAttempts - 1 });
  t.equal(times("3"), 1);
  t.equal(times(`blob ${layer}`), maxAttempts, "its manifests came");
  state.isAway = (what) => what.startsWith("blob");
  state.asked.length = 0;
  const { failed, retries } = await warm("4");
  t.equal(failed, 2 * images.length);
  t.equal(times(`blob ${second}`), maxAttempts, "four were under way at once");
  t.equal(retries, 4 * (maxAttempts - 1), "and the rest had one attempt each");
});
