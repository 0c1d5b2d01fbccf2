// What the images of a manifest are made of, by the image graph.
import type { Digest } from "../../oci/digest.ts";
import type { ImageGraph, KnownPart } from "../../ports/records.ts";

/** One image: what a client pulls that has chosen its platform. */
export interface ImageParts {
  readonly digest: Digest;
  /** As the index says; undefined where none says it. */
  readonly platform: string | undefined;
  /** When its manifest was last used, in milliseconds since the epoch; undefined: that is not here, and so no parts are known. */
  readonly usedAt: number | undefined;
  /** Its config and layers. */
  readonly parts: readonly KnownPart[];
}

/** Images of one index, and parts of one manifest. */
const maxImages = 500;
const maxParts = 4_000;
/** An index of indexes of images is deeper than any in use. */
const maxDepth = 4;

/**
 * Without the attestations, which stand beside the images in an index, for a platform that is none
 * (https://docs.docker.com/build/metadata/attestations/attestation-storage/): no client runs one. All when there is nothing else.
 */
export function withoutAttestations(images: readonly ImageParts[]): readonly ImageParts[] {
  const others = images.filter(({ platform }) => platform !== "unknown/unknown");
  return others.length > 0 ? others : images;
}

/** The image itself, or those an index names. `usedAt`: of the manifest. Throws StoreError. */
export function imagesOf(
  graph: Pick<ImageGraph, "parts">,
  digest: Digest,
  usedAt: number | undefined,
): readonly ImageParts[] {
  const images: ImageParts[] = [];
  const seen = new Set<Digest>();
  const visit = (manifest: Pick<KnownPart, "digest" | "platform" | "usedAt">, depth: number): void => {
    if (seen.has(manifest.digest) || images.length === maxImages) return;
    seen.add(manifest.digest);
    const { digest, platform, usedAt } = manifest;
    const parts = usedAt === undefined ? [] : graph.parts(digest, maxParts);
    const inner = parts.filter(({ role }) => role === "manifest");
    const own = parts.filter(({ role }) => role !== "manifest");
    if (inner.length === 0 || own.length > 0) images.push({ digest, platform, usedAt, parts: own });
    if (depth < maxDepth)
      for (const each of inner) visit({ ...each, platform: each.platform ?? platform }, depth + 1);
  };
  visit({ digest, platform: undefined, usedAt }, 0);
  return images;
}
