// The files of an OCI image layout (image-spec v1.1, "Image Layout Specification"): `oci-layout`, `index.json`, and blobs by their digest.
import { isJsonObject, type JsonObject } from "../oci/descriptor.ts";
import { type Digest, digestAlgorithm, digestHex, parseDigest } from "../oci/digest.ts";
import { jsonExcess } from "../oci/json-depth.ts";
import { bareMediaType } from "../oci/media-type.ts";
import { LayoutError } from "./layout-error.ts";

export const layoutName = "oci-layout";
export const indexName = "index.json";

/** Bytes of `oci-layout` and of `index.json` that are read. */
export const largestLayoutFile = 64 * 1024;
export const largestIndexFile = 16 * 1024 * 1024;
/** Some ten thousand images. */
const indexBounds = { depth: 64, values: 400_000 };
/** Images of one layout. */
export const maxImages = 10_000;

export const layoutBody = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/** An image of a layout, as index.json names it. */
export interface LayoutImage {
  readonly digest: Digest;
  readonly mediaType: string | undefined;
  /** Those whose values are text. */
  readonly annotations: Readonly<Record<string, string>>;
  /** The descriptor as it stands there. */
  readonly descriptor: JsonObject;
}

/** Below the layout's root, with slashes. */
export function blobPath(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}

/** The digest whose blob stands at the path; undefined for every other path. */
export function digestOfPath(path: string): Digest | undefined {
  const [, algorithm, hex] = /^blobs\/([a-z0-9]+)\/([0-9a-f]+)$/.exec(path) ?? [];
  return parseDigest(`${algorithm}:${hex}`);
}

/** Throws LayoutError for another version than 1.0.0, the only one there is. */
export function checkLayoutFile(body: Buffer): void {
  const json = parsed(body, layoutName, { depth: 8, values: 100 });
  const { imageLayoutVersion: version } = json;
  if (version !== "1.0.0")
    throw new LayoutError(
      "not_a_layout",
      `${layoutName}: found version ${JSON.stringify(version)?.slice(0, 100)}, expected "1.0.0"`,
    );
}

/** Throws LayoutError. */
export function parseIndexFile(body: Buffer): readonly LayoutImage[] {
  const { manifests } = parsed(body, indexName, indexBounds);
  if (!Array.isArray(manifests))
    throw new LayoutError("not_a_layout", `${indexName} has no list of manifests`);
  if (manifests.length > maxImages)
    throw new LayoutError(
      "too_large",
      `${indexName} names ${manifests.length} images: more than ${maxImages}`,
    );
  return manifests.map((value: unknown, at) => {
    const digest =
      isJsonObject(value) && typeof value.digest === "string" ? parseDigest(value.digest) : undefined;
    if (!isJsonObject(value) || digest === undefined)
      throw new LayoutError("not_a_layout", `${indexName}: manifest ${at + 1} has no digest that is known`);
    const { mediaType, annotations } = value;
    return {
      digest,
      mediaType: typeof mediaType === "string" ? bareMediaType(mediaType) : undefined,
      annotations: isJsonObject(annotations) ? textsOf(annotations) : {},
      descriptor: value,
    };
  });
}

export function formatIndexFile(descriptors: readonly JsonObject[]): Buffer {
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: descriptors,
  };
  return Buffer.from(`${JSON.stringify(index)}\n`);
}

function textsOf(annotations: JsonObject): Record<string, string> {
  const texts = Object.entries(annotations).filter(
    (each): each is [string, string] => typeof each[1] === "string",
  );
  return Object.fromEntries(texts);
}

function parsed(body: Buffer, name: string, bounds: typeof indexBounds): JsonObject {
  if (jsonExcess(body, bounds) !== undefined)
    throw new LayoutError("too_large", `${name} has more values in it, or nests deeper, than is read`);
  try {
    const json: unknown = JSON.parse(body.toString("utf8"));
    if (isJsonObject(json)) return json;
  } catch {
    // Told below.
  }
  throw new LayoutError("not_a_layout", `${name} is no JSON object`);
}
