import t from "tap";
import { BlockList } from "../../src/gate/block-list.ts";
import { BlockVerdicts } from "../../src/gate/verdict.ts";
import type { Role } from "../../src/oci/descriptor.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import type { Notice } from "../../src/ports/event.ts";
import { digestOf, makeImage, makeIndex, randomBytesFor } from "../fixtures/images.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";

const scope = { upstream: "upstream", repository: repo("team/app") };
const digest = (name: string) => digestOf(randomBytesFor(name, 8));

/** Manifests by name, each with what it names by name; names of layers have a lower-case first letter. */
type Named = Readonly<Record<string, readonly string[]>>;

function start(images: Named, shared?: (name: string) => Promise<boolean>) {
  const list = new BlockList();
  const notices: Notice[] = [];
  const clock = new ManualClock();
  const asked: string[] = [];
  let looked = 0;
  let broken = false;
  const names = [...new Set([...Object.keys(images), ...Object.values(images).flat()])];
  const nameOf = (of: Digest) => names.find((name) => digest(name) === of) ?? "?";
  const isManifest = (name: string) => /^[A-Z]/.test(name);
  const look = () => {
    looked++;
    if (broken) throw new StoreError("io", "broken by the test");
  };
  const verdicts = new BlockVerdicts({
    list,
    graph: {
      parents: (of) => {
        look();
        return Object.entries(images).flatMap(([name, parts]) =>
          parts.includes(nameOf(of)) ? [digest(name)] : [],
        );
      },
      parts: (of) => {
        look();
        return (images[nameOf(of)] ?? []).map((name) => ({
          digest: digest(name),
          size: 1,
          role: (isManifest(name) ? "manifest" : "layer") as Role,
          platform: name.startsWith("Attestation") ? "unknown/unknown" : "linux/amd64",
          usedAt: 1,
        }));
      },
    },
    sharedElsewhere:
      shared &&
      ((of) => {
        asked.push(nameOf(of));
        return shared(nameOf(of));
      }),
    notices: (notice) => notices.push(notice),
    clock: clock.read,
  });
  const block = (...blocked: string[]) => {
    for (const name of blocked)
      list.take([{ digest: digest(name), blocked: true, reason: name, at: 1, node: "a", parts: [] }], 1);
    verdicts.changed();
  };
  /** Of each name why it is refused; `-` for what is not. */
  const of = async (...wanted: string[]) => {
    const found: string[] = [];
    for (const name of wanted) {
      const verdict = await (isManifest(name)
        ? verdicts.manifest(scope, digest(name))
        : verdicts.blob(scope, digest(name)));
      found.push(verdict.kind === "allowed" ? "-" : `${verdict.because} ${verdict.reason}`);
    }
    return found;
  };
  return {
    list,
    verdicts,
    notices,
    clock,
    asked,
    block,
    of,
    looks: () => looked,
    break: () => {
      broken = true;
    },
  };
}

const images: Named = {
  Bad: ["own", "base"],
  Good: ["base", "other"],
  Index: ["Bad", "Good"],
  OnlyBad: ["Bad", "Attestation"],
  Attestation: ["statement"],
};

t.test("nothing is looked up while nothing is blocked", async (t) => {
  const { verdicts, of, looks } = start(images);
  t.equal(verdicts.any, false);
  t.same(await of("Bad", "own"), ["-", "-"]);
  t.equal(looks(), 0);
  t.equal(
    verdicts.manifest(scope, digest("Bad")),
    verdicts.blob(scope, digest("own")),
    "nor is anything made",
  );
});

t.test("an image goes with what only it has, and what others have stays", async (t) => {
  const { of, block, notices } = start(images);
  block("Bad");
  t.same(await of("Bad", "own", "base", "Good", "other", "Index", "OnlyBad"), [
    "itself Bad",
    "part Bad",
    "-",
    "-",
    "-",
    "-",
    "names Bad",
  ]);
  t.match(notices, [
    { kind: "block_refusal", upstream: "upstream", as: "manifest", because: "itself" },
    { kind: "block_refusal", as: "blob", because: "part" },
    { kind: "block_refusal", as: "manifest", because: "names" },
  ]);
});

t.test("a layer goes with the images that name it, and they with theirs", async (t) => {
  const { of, block } = start(images);
  block("base");
  t.same(await of("base", "Bad", "Good", "Index", "own", "other"), [
    "itself base",
    "names base",
    "names base",
    "names base",
    "part base",
    "part base",
  ]);
});

t.test("an index goes with the images that no other has", async (t) => {
  const { of, block } = start({ ...images, Second: ["Good"] });
  block("Index", "OnlyBad");
  t.same(await of("Index", "Bad", "Good", "own", "base", "other", "Second", "Attestation"), [
    "itself Index",
    "part Index",
    "-",
    "part Index",
    "-",
    "-",
    "-",
    "part OnlyBad",
  ]);
});

t.test("what a manifest names counts before the graph knows it", async (t) => {
  const { verdicts, list, of } = start({});
  const image = makeImage({ layers: [10, 20] });
  const [layer] = image.layers;
  const content = { body: image.manifest, mediaType: image.mediaType };
  list.take(
    [{ digest: layer?.digest as Digest, blocked: true, reason: "x", at: 1, node: "a", parts: [] }],
    1,
  );
  t.match(verdicts.manifest(scope, image.digest), { kind: "allowed" }, "by its digest alone nobody knows");
  t.match(verdicts.manifest(scope, image.digest, content), { kind: "blocked", because: "names" });
  t.match(verdicts.manifest(scope, image.digest), { kind: "blocked" }, "which is remembered");
  const index = makeIndex([image]);
  t.match(
    verdicts.manifest(scope, index.digest, { body: index.manifest, mediaType: index.mediaType }),
    { kind: "allowed" },
    "what its image names is not known",
  );
  t.same(await of("unknown"), ["-"]);
});

t.test("what a manifest that came later names counts, once that is said", async (t) => {
  const later: Record<string, readonly string[]> = { Bad: ["own"] };
  const { of, block, verdicts } = start(later);
  block("Bad");
  t.same(await of("own", "late"), ["part Bad", "-"]);
  later.Good = ["own"];
  t.same(await of("own"), ["part Bad"], "it is remembered");
  verdicts.changed();
  t.same(await of("own"), ["-"]);
});

t.test("what is remembered is not looked up again", async (t) => {
  const { of, block, looks } = start(images);
  block("Bad");
  await of("own", "base", "Good");
  const before = looks();
  await of("own", "base", "Good");
  t.equal(looks(), before);
});

t.test("other nodes are asked who has a part, and believed for a while", async (t) => {
  let isShared = true;
  const { of, block, asked, clock, list, verdicts } = start(images, async () => isShared);
  block("Bad");
  const both = await Promise.all([of("own"), of("own")]);
  t.same(both, [["-"], ["-"]]);
  t.same(await of("Bad", "own", "other"), ["itself Bad", "-", "-"]);
  t.same(asked, ["own"], "only about what might be refused, and once");
  isShared = false;
  clock.advance(61_000);
  t.same(await of("own", "own"), ["part Bad", "part Bad"]);
  t.equal(asked.length, 2);
  isShared = true;
  clock.advance(6_000);
  t.same(await of("own"), ["-"], "an image that has it may come at any time");
  list.take(
    [{ digest: digest("Bad"), blocked: true, reason: "Bad", at: 2, node: "a", parts: [digest("elsewhere")] }],
    2,
  );
  verdicts.changed();
  isShared = false;
  t.match(
    await verdicts.blob(scope, digest("elsewhere")),
    { kind: "blocked", because: "part" },
    "what another node has told of",
  );
});

t.test("what another node said before something else was blocked is believed once", async (t) => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let said: Promise<boolean> = promise;
  const { of, block, asked, verdicts } = start(images, () => said);
  block("Bad");
  const first = of("own");
  verdicts.changed();
  said = Promise.resolve(false);
  resolve(true);
  t.same(await first, ["-"]);
  t.same(await of("own"), ["part Bad"], "asked anew");
  t.equal(asked.length, 2);
});

t.test("a node says of an allowed image of its own that it has the part", (t) => {
  const { verdicts, block } = start(images);
  t.equal(verdicts.isShared(digest("base")), false, "nothing is blocked");
  block("Bad");
  t.equal(verdicts.isShared(digest("base")), true);
  t.equal(verdicts.isShared(digest("own")), false);
  block("base");
  t.equal(verdicts.isShared(digest("base")), false);
  t.end();
});

t.test("a graph that cannot be read lets nobody have what might be refused", (t) => {
  const { verdicts, block, notices, ...broken } = start(images);
  block("Bad");
  broken.break();
  t.match(verdicts.manifest(scope, digest("Bad")), { kind: "blocked" }, "the list is in memory");
  t.throws(() => verdicts.blob(scope, digest("own")), { code: "io" });
  t.match(notices.at(-1), { kind: "store_error", op: "block.graph" });
  t.end();
});
