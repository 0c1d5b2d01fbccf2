// Layers that only superseded images use, as eviction finds them: by what BlobIndex says is worth least.
import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const megabyte = 1_000_000;
const app = { upstream: "hub", repository: "team/app" as Repository };

function named(name: string): Digest {
  return digestOf(Buffer.from(name));
}

function opened(t: Test, directory = t.testdir()) {
  const index = openIndex({ directory, clock: () => 1_000_000 });
  t.teardown(() => index.close());
  const { blobs, tags, superseded } = index;
  let now = 0;
  /** Each layer has been used as often as is said. */
  const layers = (uses: Readonly<Record<string, number>>): void => {
    for (const [name, count] of Object.entries(uses)) {
      blobs.add(named(name), megabyte, undefined, ++now);
      for (let at = 1; at < count; at++) blobs.touch(named(name), ++now);
    }
  };
  const manifest = (name: string, parts: readonly string[], role: "layer" | "manifest" = "layer"): void => {
    blobs.setChildren(
      named(name),
      parts.map((part) => ({ digest: named(part), size: 1, role })),
    );
    blobs.add(named(name), 5, mediaType, ++now);
  };
  const tag = async (name: string, digest: string): Promise<void> => {
    await tags.put(app, name as Tag, { digest: named(digest), mediaType, size: 5, checkedAt: ++now });
  };
  /** Until nothing waits any more. */
  const sweep = (): void => {
    for (let at = 0; at < 20; at++) superseded.sweep();
  };
  const order = (...names: string[]): string[] => {
    const known = new Map(names.map((name) => [named(name), name]));
    return blobs.leastWorth("large", 100).flatMap(({ digest }) => known.get(digest) ?? []);
  };
  return { ...index, index, blobs, layers, manifest, tag, sweep, order, directory };
}

/** Releases of one tag, each with a layer of its own that was used 50 times, and a layer that all share. */
async function releases(t: Test, count: number) {
  const made = opened(t);
  made.layers({ base: 50 });
  for (let at = 1; at <= count; at++) {
    made.layers({ [`layer ${at}`]: 50 });
    made.manifest(`image ${at}`, ["base", `layer ${at}`]);
    await made.tag("latest", `image ${at}`);
  }
  made.layers({ once: 1 });
  made.sweep();
  return made;
}

t.test("the layer of a release that its tag has left four releases ago goes first", async (t) => {
  const { blobs, order } = await releases(t, 5);
  t.same(order("layer 1", "layer 2", "once", "base"), ["layer 1", "once", "base", "layer 2"]);
  t.equal(blobs.isSuperseded(named("layer 1")), true);
  t.equal(blobs.isSuperseded(named("layer 2")), false, "the last three before are for those who roll back");
  t.equal(blobs.isSuperseded(named("base")), false, "later releases use it");
  t.equal(blobs.isSuperseded(named("never there")), false);
});

t.test("one that goes and comes again is not known as superseded", async (t) => {
  const { blobs, layers, order } = await releases(t, 5);
  await blobs.removeUnused(blobs.leastWorth("large", 2));
  layers({ "layer 1": 1, later: 1 });
  t.same(order("layer 1", "later"), ["layer 1", "later"]);
  t.equal(blobs.isSuperseded(named("layer 1")), false);
});

t.test("a use of one that is superseded counts as no use, from then on", async (t) => {
  const { blobs, layers, order } = await releases(t, 5);
  layers({ other: 3 });
  await blobs.removeUnused(blobs.leastWorth("large", 2).slice(1));
  for (let at = 0; at < 5; at++) blobs.touch(named("layer 1"), 10_000 + at);
  layers({ newest: 1 });
  t.same(order("layer 1", "newest", "other"), ["layer 1", "newest", "other"]);
});

t.test("the state survives a stop, also of what waits to be looked at", async (t) => {
  const { index, layers, manifest, tag, directory } = await releases(t, 5);
  layers({ "layer 6": 50 });
  manifest("image 6", ["base", "layer 6"]);
  await tag("latest", "image 6");
  index.close();
  const again = opened(t, directory);
  again.sweep();
  t.same(again.order("layer 1", "layer 2", "layer 3", "once"), ["layer 1", "layer 2", "once", "layer 3"]);
});

t.test("what counts as use", async (t) => {
  await t.test("another tag", async (t) => {
    const made = opened(t);
    for (let at = 1; at <= 5; at++) {
      made.layers({ [`layer ${at}`]: 5 });
      made.manifest(`image ${at}`, [`layer ${at}`]);
      await made.tag("latest", `image ${at}`);
      if (at === 1) await made.tag("1.0", "image 1");
    }
    made.sweep();
    t.equal(made.blobs.isSuperseded(named("layer 1")), false);
  });

  await t.test("a tag that comes back to it", async (t) => {
    const made = await releases(t, 5);
    await made.tag("latest", "image 1");
    made.sweep();
    t.equal(made.blobs.isSuperseded(named("layer 1")), false);
    t.same(made.order("layer 1", "once"), ["once", "layer 1"], "with all its uses");
  });

  await t.test("a new tag", async (t) => {
    const made = await releases(t, 5);
    await made.tag("stable", "image 1");
    made.sweep();
    t.equal(made.blobs.isSuperseded(named("layer 1")), false);
  });

  await t.test("an image that came later, seen when it would be evicted", async (t) => {
    const made = await releases(t, 5);
    made.manifest("other", ["layer 1"]);
    t.same(made.order("layer 1", "once"), ["once", "layer 1"]);
    t.equal(made.blobs.isSuperseded(named("layer 1")), false);
  });

  await t.test("an image that was only ever asked for by its digest", async (t) => {
    const made = opened(t);
    made.layers({ shared: 5 });
    made.manifest("by digest", ["shared"]);
    for (let at = 1; at <= 5; at++) {
      made.manifest(`image ${at}`, at === 1 ? ["shared"] : []);
      await made.tag("latest", `image ${at}`);
    }
    made.sweep();
    t.equal(made.blobs.isSuperseded(named("shared")), false);
  });
});

t.test("a tag that is gone keeps what it named for those who roll back", async (t) => {
  const made = await releases(t, 1);
  await made.tags.delete(app, "latest" as Tag);
  made.sweep();
  t.equal(made.blobs.isSuperseded(named("layer 1")), false);
  for (const at of [2, 3, 4, 5]) {
    made.manifest(`image ${at}`, []);
    await made.tag("latest", `image ${at}`);
  }
  made.sweep();
  t.equal(made.blobs.isSuperseded(named("layer 1")), true, "until four others came after it");
});

t.test("pushes, which delete the record of the tag, supersede as its moves do", async (t) => {
  const made = opened(t);
  for (const at of [1, 2, 3, 4, 5]) {
    made.layers({ [`layer ${at}`]: 50 });
    made.manifest(`image ${at}`, [`layer ${at}`]);
    await made.tags.delete(app, "latest" as Tag);
    await made.tag("latest", `image ${at}`);
  }
  made.sweep();
  const superseded = [1, 2, 3, 4, 5].filter((at) => made.blobs.isSuperseded(named(`layer ${at}`)));
  t.same(superseded, [1], "the last three before are for those who roll back");
});

t.test("the images of a superseded index, unless another index has them", async (t) => {
  const made = opened(t);
  made.layers({ "layer amd64": 50, "layer arm64": 50 });
  made.manifest("amd64", ["layer amd64"]);
  made.manifest("arm64", ["layer arm64"]);
  for (let at = 1; at <= 5; at++) {
    made.manifest(`index ${at}`, at === 1 ? ["amd64", "arm64"] : at === 5 ? ["arm64"] : [], "manifest");
    await made.tag("latest", `index ${at}`);
  }
  made.sweep();
  t.equal(made.blobs.isSuperseded(named("layer amd64")), true);
  t.equal(made.blobs.isSuperseded(named("layer arm64")), false);
  await made.tag("latest", "index 1");
  made.sweep();
  t.equal(made.blobs.isSuperseded(named("layer amd64")), false, "the tag has come back to the index");
});

t.test("a layer that 64 images name is one that much is made of", async (t) => {
  const made = opened(t);
  made.layers({ base: 5, own: 5 });
  for (let at = 1; at <= 70; at++) {
    made.manifest(`image ${at}`, at === 1 ? ["base", "own"] : ["base"]);
    await made.tag("latest", `image ${at}`);
  }
  await made.tag("latest", "image 1");
  for (let at = 2; at <= 6; at++) await made.tag("latest", `image ${at}`);
  made.sweep();
  t.equal(made.blobs.isSuperseded(named("own")), true);
  t.equal(made.blobs.isSuperseded(named("base")), false);
});

t.test("what was known of a tag goes with its manifests", async (t) => {
  const made = await releases(t, 5);
  for (const at of [1, 2, 3, 4, 5]) made.blobs.remove(named(`image ${at}`));
  made.sweep();
  made.manifest("image 1", ["layer 1"]);
  t.same(made.order("layer 1", "once"), ["once", "layer 1"], "it came again, and nobody knows its tag");
});
