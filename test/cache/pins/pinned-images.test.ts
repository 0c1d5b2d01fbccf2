// What is held for pinned images, of an index as the program has it.
import t, { type Test } from "tap";
import { maxPartsOfPin, PinnedImages } from "../../../src/cache/pins/pinned-images.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import { pinnedText, type WantedPin } from "../../../src/ports/pins/pins.ts";
import type { NamedPart } from "../../../src/ports/records.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const scope = { upstream: "hub", repository: "team/app" as Repository };

function named(name: string): Digest {
  return digestOf(Buffer.from(name));
}

function pin(reference: string, origin: WantedPin["origin"] = "command"): WantedPin {
  return { ...scope, reference, origin, at: origin === "command" ? 1 : undefined };
}

function opened(t: Test, budget = 1e9) {
  const index = openIndex({ directory: t.testdir(), clock: () => 1_000 });
  t.teardown(() => index.close());
  const { blobs, graph, tags, pins: store } = index;
  const limits = { budget };
  const images = new PinnedImages({
    store,
    graph,
    index: blobs,
    tags,
    ownTags: tags,
    budget: () => limits.budget,
  });
  /** Manifests have 5 bytes, and what they name 100 each. */
  const manifest = (
    name: string,
    parts: readonly string[],
    of: { subject?: string; role?: "manifest" } = {},
  ): void => {
    const { subject, role = "layer" } = of;
    const size = role === "manifest" ? 5 : 100;
    const children = parts.map((part): NamedPart => ({ digest: named(part), size, role }));
    blobs.setChildren(named(name), children, subject === undefined ? undefined : named(subject));
    blobs.add(named(name), 5, mediaType, 1);
  };
  const here = (...names: string[]): void => {
    for (const name of names) blobs.add(named(name), 100, undefined, 1);
  };
  const tag = async (name: string, digest: string, checkedAt = 1): Promise<void> => {
    await tags.put(scope, name as Tag, { digest: named(digest), mediaType, size: 5, checkedAt });
  };
  const areHeld = (...names: string[]): boolean[] => names.map((name) => store.isHeld(named(name)));
  const look = async (...wanted: WantedPin[]) => await images.look(wanted);
  return { ...index, store, images, limits, manifest, here, tag, areHeld, look };
}

t.test(
  "an index with its images, their layers, and what refers to it is held, and nothing else",
  async (t) => {
    const { manifest, here, tag, areHeld, look, store } = opened(t);
    manifest("index", ["amd64", "arm64"], { role: "manifest" });
    manifest("amd64", ["base", "own"]);
    manifest("arm64", ["other"]);
    manifest("sbom", ["sbom layer"], { subject: "amd64" });
    manifest("signature", ["signature layer"]);
    manifest("else", ["else layer"]);
    here("base", "own", "other", "sbom layer", "signature layer", "else layer");
    await tag("1.0", "index");
    await tag(`${named("index").replace(":", "-")}.sig`, "signature");
    const found = await look(pin("1.0"));
    t.match(found.images, [
      {
        state: "whole",
        digest: named("index"),
        parts: 10,
        sizeBytes: 525,
        hereBytes: 525,
        unknownManifests: 0,
      },
    ]);
    t.same([found.heldBytes, found.neededBytes, store.heldBytes()], [525, 525, 525]);
    const of = [
      "index",
      "amd64",
      "arm64",
      "base",
      "own",
      "other",
      "sbom",
      "sbom layer",
      "signature",
      "signature layer",
    ];
    t.same(
      areHeld(...of),
      of.map(() => true),
    );
    t.same(areHeld("else", "else layer"), [false, false]);
    await look();
    t.same(
      areHeld(...of),
      of.map(() => false),
      "no more wanted",
    );
    t.same(store.held(), []);
  },
);

t.test("what is not here yet is held as it comes", async (t) => {
  const { manifest, here, tag, areHeld, look, store, blobs } = opened(t);
  t.match((await look(pin("1.0"))).images, [{ state: "unknown", digest: undefined, parts: 0 }]);
  await tag("1.0", "index");
  t.match((await look(pin("1.0"))).images, [{ state: "incomplete", unknownManifests: 1, hereBytes: 0 }]);
  manifest("index", ["amd64", "arm64"], { role: "manifest" });
  manifest("amd64", ["base"]);
  t.match((await look(pin("1.0"))).images, [
    { state: "incomplete", unknownManifests: 1, parts: 4, hereBytes: 10 },
  ]);
  t.same(areHeld("base", "arm64"), [true, true]);
  here("base");
  t.same(blobs.leastWorth("small", 10), [], "as soon as it is here");
  t.equal(store.held()[0]?.digest, undefined);
  manifest("arm64", ["base"]);
  t.match((await look(pin("1.0"))).images, [{ state: "whole", parts: 4 }]);
  t.equal(store.held()[0]?.digest, named("index"));
});

t.test("a tag that moves keeps what it named before until the new image is here as a whole", async (t) => {
  const { manifest, here, tag, areHeld, look, store } = opened(t);
  manifest("one", ["base", "layer 1"]);
  here("base", "layer 1");
  await tag("latest", "one");
  await look(pin("latest"));
  await tag("latest", "two", 2);
  t.match(await look(pin("latest")), {
    images: [{ state: "incomplete", digest: named("two") }],
    heldBytes: 205,
  });
  t.same(areHeld("one", "layer 1", "two"), [true, true, true]);
  manifest("two", ["base", "layer 2"]);
  t.match(await look(pin("latest")), { images: [{ state: "incomplete" }], heldBytes: 310 });
  t.same(areHeld("one", "layer 1", "layer 2"), [true, true, true]);
  t.equal(store.held()[0]?.digest, named("one"));
  here("layer 2");
  t.match(await look(pin("latest")), { images: [{ state: "whole" }], heldBytes: 205 });
  t.same(areHeld("one", "layer 1", "two", "layer 2", "base"), [false, false, true, true, true]);
  t.equal(store.held()[0]?.digest, named("two"));
});

t.test(
  "what is beyond the budget is not held, in the order of pins; what they share counts once",
  async (t) => {
    const { manifest, here, tag, areHeld, look, limits, images } = opened(t, 320);
    for (const name of ["one", "two", "three"]) {
      manifest(name, ["base", `layer of ${name}`]);
      here("base", `layer of ${name}`);
      await tag(name, name);
    }
    const all = ["one", "two", "three"].map((name) => pin(name));
    const found = await look(...all);
    t.same(
      found.images.map(({ state }) => state),
      ["whole", "whole", "over_budget"],
    );
    t.same([found.heldBytes, found.neededBytes], [310, 415]);
    t.same(areHeld("layer of two", "three", "layer of three"), [true, false, false]);
    t.match(await images.costOf(pin("three"), named("three")), {
      imageBytes: 205,
      addedBytes: 105,
      totalBytes: 415,
      unknownManifests: 0,
    });
    t.match((await look(all[2] as WantedPin, all[0] as WantedPin, all[1] as WantedPin)).images, [
      { state: "whole" },
      { state: "whole" },
      { state: "over_budget" },
    ]);
    t.same(areHeld("layer of two", "layer of three"), [false, true], "another one comes first now");
    limits.budget = 210;
    await look(...all);
    t.same(areHeld("layer of one", "layer of three"), [true, false], "the budget was made smaller");
  },
);

t.test("a tag that moves to an image beyond the budget keeps what it named before", async (t) => {
  const { manifest, here, tag, areHeld, look, store } = opened(t, 210);
  manifest("one", ["base"]);
  here("base");
  await tag("latest", "one");
  await look(pin("latest"));
  manifest("two", ["base", "layer 2", "layer 3"]);
  await tag("latest", "two", 2);
  t.match(await look(pin("latest")), {
    images: [{ state: "over_budget" }],
    heldBytes: 105,
    neededBytes: 305,
  });
  t.same(areHeld("one", "base", "two", "layer 2"), [true, true, false, false]);
  t.equal(store.held()[0]?.digest, named("one"));
});

t.test("a tag that moves unpins no other image that is held, be it before or after it", async (t) => {
  const { manifest, here, tag, areHeld, look, limits, store } = opened(t, 315);
  manifest("one", ["layer 1"]);
  manifest("stable", ["layer s"]);
  here("layer 1", "layer s");
  await tag("latest", "one");
  await tag("1.0", "stable");
  const states = async (...wanted: WantedPin[]) => (await look(...wanted)).images.map(({ state }) => state);
  for (const [at, wanted] of [
    [pin("latest"), pin("1.0")],
    [pin("1.0"), pin("latest")],
  ].entries()) {
    await tag("latest", "one", 2 + 2 * at);
    t.same(await states(...wanted), ["whole", "whole"]);
    // Alone it would fit, and beside its old form; but not beside both.
    manifest("two", ["layer 2", "layer 3"]);
    await tag("latest", "two", 3 + 2 * at);
    t.equal((await states(...wanted))[at], "over_budget");
    t.same(areHeld("layer 1", "layer s", "layer 2"), [true, true, false]);
    t.match(store.held(), [{ digest: named("one") }, { digest: named("stable") }]);
    t.equal((await look(...wanted)).heldBytes, 210);
  }
  limits.budget = 415;
  t.same(await states(pin("latest"), pin("1.0")), ["incomplete", "whole"]);
  t.same(areHeld("layer 1", "layer s", "layer 2"), [true, true, true]);
  limits.budget = 315;
  here("layer 2", "layer 3");
  t.same(await states(pin("latest"), pin("1.0")), ["whole", "whole"], "here, it needs no room for both");
  t.same(areHeld("layer 1", "layer s", "layer 2"), [false, true, true]);
});

t.test("what a tag named before and never was here as a whole is not kept", async (t) => {
  const { manifest, here, tag, areHeld, look } = opened(t, 315);
  manifest("one", ["layer 1", "layer 2"]);
  here("layer 1");
  await tag("latest", "one");
  t.match((await look(pin("latest"))).images, [{ state: "incomplete" }]);
  manifest("two", ["layer 3", "layer 4"]);
  await tag("latest", "two", 2);
  t.match(await look(pin("latest")), { images: [{ state: "incomplete" }], heldBytes: 205 });
  t.same(areHeld("layer 1", "layer 3"), [false, true]);
});

t.test("one image has a most of parts", async (t) => {
  const { manifest, tag, look, store } = opened(t);
  manifest(
    "large",
    Array.from({ length: maxPartsOfPin }, (_, at) => `layer ${at}`),
  );
  await tag("large", "large");
  t.match((await look(pin("large", "configuration"))).images, [{ state: "too_large" }]);
  t.same(store.held(), []);
});

t.test("an image by its digest", async (t) => {
  const { manifest, here, look, store } = opened(t);
  manifest("one", ["base"]);
  here("base");
  const wanted = pin(named("one"));
  t.match((await look(wanted)).images, [{ state: "whole" }]);
  t.equal(store.isPinned(wanted), true);
  t.equal(pinnedText(wanted), `hub/team/app@${named("one")}`);
});
