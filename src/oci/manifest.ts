// Reading a manifest body: its media type and what it refers to. The bytes themselves are never rewritten.
import { type Digest, parseDigest } from "./digest.ts";
import { bareMediaType, isGenericMediaType, mediaTypes } from "./media-type.ts";

/** One thing a manifest refers to. `size` in bytes. */
export interface Descriptor {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly kind: "manifest" | "blob";
}

export interface Manifest {
  /** Bare media type to serve the body with. */
  readonly mediaType: string;
  /** Children in order: an index's manifests, or a manifest's config and layers. Duplicates removed. */
  readonly children: readonly Descriptor[];
}

export type ManifestProblem = "not_json" | "not_a_manifest" | "ambiguous" | "type_mismatch";

/** At most this many children are read; the largest real indexes have some hundreds. */
const maxChildren = 10_000;

/**
 * Reads `body` as a manifest received with `contentType`.
 * `ambiguous`: both `manifests` and `layers`, or a `mediaType` field of the other kind (CVE-2021-41190);
 * `type_mismatch`: the field and the header disagree. Neither may be cached or served.
 */
export function readManifest(body: Buffer, contentType: string | undefined): Manifest | ManifestProblem {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    return "not_json";
  }
  if (!isObject(json)) return "not_a_manifest";
  const isIndex = Array.isArray(json.manifests);
  const isImage = Array.isArray(json.layers) || Array.isArray(json.fsLayers) || isObject(json.config);
  if (isIndex && isImage) return "ambiguous";
  const field = typeof json.mediaType === "string" ? bareMediaType(json.mediaType) : undefined;
  const header = bareMediaType(contentType);
  if (field && header && !isGenericMediaType(header) && !sameManifestType(field, header))
    return "type_mismatch";
  const mediaType =
    (isGenericMediaType(header) ? undefined : header) ?? field ?? shapeType(json, isIndex, isImage);
  if (mediaType === undefined) return "not_a_manifest";
  if ((isIndex && isImageType(mediaType)) || (isImage && isIndexType(mediaType))) return "ambiguous";
  return { mediaType, children: readChildren(json) };
}

function readChildren(json: Record<string, unknown>): Descriptor[] {
  const seen = new Map<Digest, Descriptor>();
  const add = (value: unknown, kind: Descriptor["kind"]): void => {
    if (!isObject(value) || seen.size >= maxChildren) return;
    const text = value.digest ?? value.blobSum;
    const digest = typeof text === "string" ? parseDigest(text) : undefined;
    if (digest === undefined || seen.has(digest)) return;
    const size = value.size;
    seen.set(digest, {
      digest,
      kind,
      size: Number.isSafeInteger(size) && Number(size) >= 0 ? Number(size) : undefined,
    });
  };
  const addAll = (values: unknown, kind: Descriptor["kind"]): void => {
    if (Array.isArray(values)) for (const value of values) add(value, kind);
  };
  addAll(json.manifests, "manifest");
  add(json.config, "blob");
  addAll(json.layers, "blob");
  addAll(json.fsLayers, "blob");
  addAll(json.blobs, "blob");
  return [...seen.values()];
}

function shapeType(json: Record<string, unknown>, isIndex: boolean, isImage: boolean): string | undefined {
  if (json.schemaVersion === 1) {
    return Array.isArray(json.signatures) ? mediaTypes.dockerManifestV1Signed : mediaTypes.dockerManifestV1;
  }
  if (isIndex) return mediaTypes.ociIndex;
  return isImage ? mediaTypes.ociManifest : undefined;
}

function sameManifestType(field: string, header: string): boolean {
  // A signed schema 1 manifest is served as prettyjws while its payload carries no or the plain type.
  const v1 = (type: string): boolean => type.startsWith("application/vnd.docker.distribution.manifest.v1+");
  return field === header || (v1(field) && v1(header));
}

function isIndexType(type: string): boolean {
  return type === mediaTypes.ociIndex || type === mediaTypes.dockerList;
}

function isImageType(type: string): boolean {
  return type === mediaTypes.ociManifest || type === mediaTypes.dockerManifest;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
