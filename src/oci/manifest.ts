// Reading a manifest body: its media type and what it refers to. The bytes themselves are never rewritten.
// What it refers to becomes a right to read, so only what the registry checked at the push may be read from it.
import {
  type Descriptor,
  foldsMembers,
  isForeign,
  isJsonObject,
  type JsonObject,
  readDescriptor,
} from "./descriptor.ts";
import type { Digest } from "./digest.ts";
import { nestsDeeper } from "./json-depth.ts";
import { bareMediaType, isGenericMediaType, mediaTypes } from "./media-type.ts";

export type { Descriptor } from "./descriptor.ts";

export interface Manifest {
  /** Bare media type to serve the body with. */
  readonly mediaType: string;
  /**
   * Children in order: an index's manifests, or a manifest's config and layers; not its subject, which may be
   * missing. Duplicates removed. None for a type we do not know.
   */
  readonly children: readonly Descriptor[];
  /**
   * Foreign layers, see isForeign. A registry takes a manifest without having them, so that naming one proves
   * nothing: never link, prefetch or count them, and never fetch their URLs (CVE-2020-15157). When a client asks
   * for one, upstream decides.
   */
  readonly foreign: readonly Descriptor[];
}

/**
 * Bytes of the largest manifest held, stored or parsed: what registries must take at least (distribution-spec, "Pushing
 * Manifests"). Larger ones pass through (clients.md item 20).
 */
export const largestManifest = 4 * 1024 * 1024;

export type ManifestProblem = "not_json" | "not_a_manifest" | "ambiguous" | "type_mismatch";

/** At most this many descriptors are read; the largest real indexes have some hundreds. */
const maxDescriptors = 10_000;

/** Deepest nesting read; real manifests stay below ten. */
const maxDepth = 64;

type Shape = "index" | "image" | "schema1" | "artifact";

const shapeOfType: ReadonlyMap<string, Shape> = new Map<string, Shape>([
  [mediaTypes.ociIndex, "index"],
  [mediaTypes.dockerList, "index"],
  [mediaTypes.ociManifest, "image"],
  [mediaTypes.dockerManifest, "image"],
  [mediaTypes.dockerManifestV1, "schema1"],
  [mediaTypes.dockerManifestV1Signed, "schema1"],
  [mediaTypes.ociArtifact, "artifact"],
]);

/**
 * Reads `body` as a manifest received with `contentType`. Neither of these may be cached or served:
 * `ambiguous`: two readers can take it for two things (CVE-2021-41190), for it has members of two kinds, or a
 * type of another kind than its members, or spells a member in another case;
 * `type_mismatch`: its `mediaType` and the header disagree.
 */
export function readManifest(body: Buffer, contentType: string | undefined): Manifest | ManifestProblem {
  if (nestsDeeper(body, maxDepth)) return "not_a_manifest";
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    return "not_json";
  }
  if (!isJsonObject(json)) return "not_a_manifest";
  const [shape, otherShape] = shapesOf(json);
  if (otherShape !== undefined || foldsMembers(json)) return "ambiguous";
  const header = specificType(contentType);
  const field = specificType(json.mediaType);
  if (field !== undefined && header !== undefined && !isSameType(field, header)) return "type_mismatch";
  const mediaType = header ?? field ?? typeOfShape(shape, json);
  if (mediaType === undefined) return "not_a_manifest";
  const typeShape = shapeOfType.get(mediaType);
  if (shape !== undefined && typeShape !== undefined && shape !== typeShape) return "ambiguous";
  const references = readReferences(json, typeShape);
  return references === undefined ? "ambiguous" : { mediaType, ...references };
}

/** What the members say, whatever the type says. An artifact manifest has no member that only it has. */
function shapesOf(json: JsonObject): Shape[] {
  const shapes: Shape[] = [];
  if (Array.isArray(json.manifests)) shapes.push("index");
  if (Array.isArray(json.layers) || isJsonObject(json.config)) shapes.push("image");
  if (Array.isArray(json.fsLayers)) shapes.push("schema1");
  return shapes;
}

/** The type of a manifest that does not tell: Docker's own types always do, except schema 1. */
function typeOfShape(shape: Shape | undefined, json: JsonObject): string | undefined {
  if (shape === "index") return mediaTypes.ociIndex;
  if (shape === "image") return mediaTypes.ociManifest;
  if (shape === undefined) return undefined;
  return Array.isArray(json.signatures) ? mediaTypes.dockerManifestV1Signed : mediaTypes.dockerManifestV1;
}

/** The bare type, when there is one and it says something about a manifest. */
function specificType(value: unknown): string | undefined {
  const type = typeof value === "string" ? bareMediaType(value) : undefined;
  return isGenericMediaType(type) ? undefined : type;
}

/** A signed schema 1 manifest is served as prettyjws while its payload carries no or the plain type. */
function isSameType(field: string, header: string): boolean {
  return field === header || (shapeOfType.get(field) === "schema1" && shapeOfType.get(header) === "schema1");
}

/** Undefined when a descriptor is ambiguous. A digest that stands in an ordinary place too is not foreign. */
function readReferences(
  json: JsonObject,
  shape: Shape | undefined,
): Pick<Manifest, "children" | "foreign"> | undefined {
  const listedAs = shape === "index" ? "manifest" : "blob";
  const digestMember = shape === "schema1" ? "blobSum" : "digest";
  const children = new Map<Digest, Descriptor>();
  const foreign = new Map<Digest, Descriptor>();
  for (const value of descriptorsOf(json, shape).slice(0, maxDescriptors)) {
    if (!isJsonObject(value)) continue;
    if (foldsMembers(value)) return undefined;
    const descriptor = readDescriptor(value, listedAs, digestMember);
    const found = isForeign(value) ? foreign : children;
    if (descriptor === undefined || found.has(descriptor.digest)) continue;
    found.set(descriptor.digest, descriptor);
  }
  for (const digest of children.keys()) foreign.delete(digest);
  return { children: [...children.values()], foreign: [...foreign.values()] };
}

/** Only the members that belong to the type: nobody looks at the others when a manifest is pushed. */
function descriptorsOf(json: JsonObject, shape: Shape | undefined): readonly unknown[] {
  switch (shape) {
    case "index":
      return listOf(json.manifests);
    case "image":
      return [json.config, ...listOf(json.layers)];
    case "artifact":
      return listOf(json.blobs);
    case "schema1":
      return listOf(json.fsLayers);
    case undefined:
      return [];
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
