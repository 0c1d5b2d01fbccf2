import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { imagesOf, withoutAttestations } from "../../../src/ops/stats/image-parts.ts";
import type { KnownPart } from "../../../src/ports/records.ts";
import { digestOf } from "../../fixtures/images.ts";

const named = (name: string): Digest => digestOf(Buffer.from(name));

function part(name: string, role: KnownPart["role"], platform?: string, usedAt?: number): KnownPart {
  return { digest: named(name), size: 1, role, platform, usedAt };
}

function graphOf(manifests: Readonly<Record<string, readonly KnownPart[]>>) {
  const byDigest = new Map(Object.entries(manifests).map(([name, parts]) => [named(name), parts]));
  return { parts: (digest: Digest) => byDigest.get(digest) ?? [] };
}

t.test(
  "an image is itself, an index the images it names, with the platform the nearest one states",
  async (t) => {
    const own = [part("config", "config"), part("layer", "layer")];
    const graph = graphOf({
      image: own,
      index: [
        part("image", "manifest", "linux/amd64", 5),
        part("absent", "manifest", "linux/arm64"),
        part("inner", "manifest", "linux/s390x", 6),
      ],
      inner: [part("other", "manifest", undefined, 7)],
      other: own,
      "build cache": [part("cache config", "config"), part("cached", "layer")],
    });
    t.strictSame(imagesOf(graph, named("image"), 3), [
      { digest: named("image"), platform: undefined, usedAt: 3, parts: own },
    ]);
    t.strictSame(imagesOf(graph, named("index"), 3), [
      { digest: named("image"), platform: "linux/amd64", usedAt: 5, parts: own },
      { digest: named("absent"), platform: "linux/arm64", usedAt: undefined, parts: [] },
      { digest: named("other"), platform: "linux/s390x", usedAt: 7, parts: own },
    ]);
    t.equal(imagesOf(graph, named("build cache"), 3)[0]?.parts.length, 2);
    t.strictSame(imagesOf(graph, named("image"), undefined), [
      { digest: named("image"), platform: undefined, usedAt: undefined, parts: [] },
    ]);
  },
);

t.test("indexes that name each other end", async (t) => {
  const graph = graphOf({
    a: [part("b", "manifest", undefined, 1)],
    b: [part("a", "manifest", undefined, 1)],
  });
  t.same(imagesOf(graph, named("a"), 1), []);
});

t.test("attestations are no images, unless there is nothing else", async (t) => {
  const of = (platform: string) => ({ digest: named(platform), platform, usedAt: 1, parts: [] });
  const [image, attestation] = [of("linux/amd64"), of("unknown/unknown")];
  t.strictSame(withoutAttestations([image, attestation]), [image]);
  t.strictSame(withoutAttestations([attestation]), [attestation]);
});
