// Reading a manifest body: its media type and what it refers to. The bytes themselves are never rewritten.
// What it refers to becomes a right to read, so only what the registry checked at the push may be read from it.
import {
  type Descriptor,
  foldsMembers,
  isForeign,
  isJsonObject,
  type JsonObject,
  type Role,
  readDescriptor,
} from "./descriptor.ts";
import type { Digest } from "./digest.ts";
import { jsonExcess } from "./json-depth.ts";
import { bareMediaType, isGenericMediaType, mediaTypes } from "./media-type.ts";

export type { Descriptor, Role } from "./descriptor.ts";

export interface Manifest {
  /** Bare media type to serve the body with. */
  readonly mediaType: string;
  /**
   * Children in order: an index's manifests, or a manifest's config and layers; not its subject, which may be
   * missing. Duplicates removed. None for a type we do not know.
   */
  readonly children: readonly Descriptor[];
  /**
   * Those of the children that a registry has to have before it takes the manifest, so that being named is some proof.
   * None of an index, whatever type its children give themselves: many registries take one that names what they do not
   * have.
   */
  readonly blobs: readonly Descriptor[];
  /**
   * Foreign layers, see isForeign. A registry takes a manifest without having them, so that naming one proves
   * nothing: never link, prefetch or count them, and never fetch their URLs (CVE-2020-15157). When a client asks
   * for one, upstream decides.
   */
  readonly foreign: readonly Descriptor[];
  /** The manifest this one says something about: it is a referrer of it (image-spec, `subject`). */
  readonly subject?: Digest;
}

/**
 * Bytes of the largest manifest held, stored or parsed: what registries must take at least (distribution-spec, "Pushing
 * Manifests"). Larger ones pass through (docs/clients.md 20).
 */
export const largestManifest = 4 * 1024 * 1024;

export type ManifestProblem = "not_json" | "not_a_manifest" | "too_many" | "ambiguous" | "type_mismatch";

/**
 * Most values in a manifest that is read, and deepest nesting: those of 4,000 descriptors with annotations, parsed in
 * 30 ms at worst. Real manifests have some hundreds, and nest less than ten deep.
 */
const bounds = { depth: 64, values: 40_000 };

/** Most descriptors: each becomes rows in the index. The largest real indexes and artifacts have some hundreds. */
const maxDescriptors = 4_000;

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
 * Reads `body` as a manifest received with `contentType`. `too_many`: it has more than is read, which says nothing
 * against it; it cannot be cached. None of the others may be cached or served:
 * `ambiguous`: two readers can take it for two things (CVE-2021-41190), for it has members of two kinds, or a
 * type of another kind than its members, or spells a member in another case;
 * `type_mismatch`: its `mediaType` and the header disagree;
 * `not_a_manifest`: it has nothing that makes a manifest, or not what its type is made of.
 */
export function readManifest(body: Buffer, contentType: string | undefined): Manifest | ManifestProblem {
  const excess = jsonExcess(body, bounds);
  if (excess !== undefined) return excess === "depth" ? "not_a_manifest" : "too_many";
  const json = parsed(body.toString("utf8"));
  if (json === undefined) return "not_json";
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
  if (shape === undefined && !isEmptyOf(typeShape, json)) return "not_a_manifest";
  const references = readReferences(json, typeShape);
  if (typeof references === "string") return references;
  const subject = subjectOf(json);
  return { mediaType, ...references, ...(subject === undefined ? {} : { subject }) };
}

/**
 * Whether a manifest without a list of its own kind is one all the same: encoders in Go write an empty list as null, an
 * artifact may have no blobs, and one of a type we do not know says its type or the version of its schema.
 */
function isEmptyOf(shape: Shape | undefined, json: JsonObject): boolean {
  switch (shape) {
    case "index":
      return json.manifests === null;
    case "image":
      return json.layers === null;
    case "schema1":
      return json.fsLayers === null;
    case "artifact":
      return Array.isArray(json.blobs) || typeof json.artifactType === "string";
    case undefined:
      return typeof json.mediaType === "string" || Number.isSafeInteger(json.schemaVersion);
  }
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

function subjectOf({ subject }: JsonObject): Digest | undefined {
  return isJsonObject(subject) ? readDescriptor(subject, "manifest", "digest")?.digest : undefined;
}

/** A digest that stands in an ordinary place too is not foreign. */
function readReferences(
  json: JsonObject,
  shape: Shape | undefined,
): Pick<Manifest, "children" | "blobs" | "foreign"> | "ambiguous" | "too_many" {
  const values = descriptorsOf(json, shape);
  if (values.length > maxDescriptors) return "too_many";
  const digestMember = shape === "schema1" ? "blobSum" : "digest";
  const children = new Map<Digest, Descriptor>();
  const foreign = new Map<Digest, Descriptor>();
  for (const { value, role } of values) {
    if (!isJsonObject(value)) continue;
    if (foldsMembers(value)) return "ambiguous";
    const descriptor = readDescriptor(value, role, digestMember);
    const found = isForeign(value) ? foreign : children;
    if (descriptor === undefined || found.has(descriptor.digest)) continue;
    found.set(descriptor.digest, descriptor);
  }
  for (const digest of children.keys()) foreign.delete(digest);
  const named = [...children.values()];
  return { children: named, blobs: shape === "index" ? [] : named, foreign: [...foreign.values()] };
}

/** Only the members that belong to the type: nobody looks at the others when a manifest is pushed. */
function descriptorsOf(json: JsonObject, shape: Shape | undefined): readonly Listed[] {
  switch (shape) {
    case "index":
      return listedAs("manifest", listOf(json.manifests));
    case "image":
      return [...listedAs("config", [json.config]), ...listedAs("layer", listOf(json.layers))];
    case "artifact":
      return listedAs("layer", listOf(json.blobs));
    case "schema1":
      return listedAs("layer", listOf(json.fsLayers));
    case undefined:
      return [];
  }
}

interface Listed {
  readonly value: unknown;
  readonly role: Role;
}

function listedAs(role: Role, values: readonly unknown[]): readonly Listed[] {
  return values.map((value) => ({ value, role }));
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/**
 * What the signatures of a signed schema 1 manifest cover, which its digest is of: the text up to where they were put
 * in, and what was after it (Docker Registry v2.2 "Signed Manifests"; libtrust, JSONSignature). The signatures are not
 * verified. Undefined for anything else.
 */
export function signedPayload(body: Buffer): Buffer | undefined {
  if (jsonExcess(body, bounds) !== undefined) return undefined;
  const signed = parsed(body.toString("utf8"));
  const signature = isJsonObject(signed) && Array.isArray(signed.fsLayers) && listOf(signed.signatures)[0];
  if (!isJsonObject(signature) || typeof signature.protected !== "string") return undefined;
  const format = parsed(Buffer.from(signature.protected, "base64url").toString("utf8"));
  if (!isJsonObject(format) || typeof format.formatTail !== "string") return undefined;
  const { formatLength: length } = format;
  if (typeof length !== "number" || !(length > 0 && length <= body.length)) return undefined;
  return Buffer.concat([body.subarray(0, length), Buffer.from(format.formatTail, "base64url")]);
}

/** Undefined for what is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
