// Descriptors as the manifests we read carry them (image-spec, descriptor; Docker schema 1 `fsLayers`).
import { type Digest, parseDigest } from "./digest.ts";
import { bareMediaType } from "./media-type.ts";

/** What a manifest names something as. A manifest is found under another endpoint than the two others, which are blobs. */
export const roles = ["manifest", "config", "layer"] as const;
export type Role = (typeof roles)[number];

/** One thing a manifest refers to. `size` in bytes. */
export interface Descriptor {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly role: Role;
  /** `os/architecture` or `os/architecture/variant`, where the descriptor states it (image-spec, image index). */
  readonly platform: string | undefined;
}

/** An object as JSON.parse gives it. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Members that decide what a manifest is and names. */
const members = [
  "manifests",
  "layers",
  "config",
  "fsLayers",
  "blobs",
  "mediaType",
  "digest",
  "blobSum",
  "size",
  "urls",
];
const exactMembers: ReadonlySet<string> = new Set(members);
/** `u` folds the long s as well, as Go does. */
const foldedMembers = new RegExp(`^(?:${members.join("|")})$`, "iu");

/** Types of content that BuildKit lists in an index of cached layers: blobs among the manifests. */
const layerTypes = /^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.)/;
const cacheConfigTypes = /^application\/vnd\.buildkit\.cacheconfig\./;

/** Characters of an os, an architecture or a variant; those in use have ten at most. */
const platformWord = /^[A-Za-z0-9._-]{1,32}$/;

/** Layers that may be missing from the registry their manifest was pushed to. */
const foreignTypes = /foreign|nondistributable/;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * True when a member of ours is spelled in another case, as in `Layers`. Registries in Go take it for ours and
 * let the last one win, we see only the exact one: what they checked is not what we would read.
 */
export function foldsMembers(object: JsonObject): boolean {
  return Object.keys(object).some((key) => !exactMembers.has(key) && foldedMembers.test(key));
}

/** Undefined when there is no digest we know. A size that is no whole number from 0 is left out. */
export function readDescriptor(
  object: JsonObject,
  listedAs: Role,
  digestMember: "digest" | "blobSum",
): Descriptor | undefined {
  const text = object[digestMember];
  const digest = typeof text === "string" ? parseDigest(text) : undefined;
  if (digest === undefined) return undefined;
  const size = object.size;
  return {
    digest,
    size: typeof size === "number" && Number.isSafeInteger(size) && size >= 0 ? size : undefined,
    role: roleOf(typeOf(object), listedAs),
    platform: isJsonObject(object.platform) ? platformText(object.platform) : undefined,
  };
}

function roleOf(mediaType: string, listedAs: Role): Role {
  if (listedAs !== "manifest") return listedAs;
  if (cacheConfigTypes.test(mediaType)) return "config";
  return layerTypes.test(mediaType) ? "layer" : "manifest";
}

/** Undefined for one that states no os and architecture, or one with words nobody uses. */
function platformText({ os, architecture, variant }: JsonObject): string | undefined {
  const words = variant === undefined || variant === "" ? [os, architecture] : [os, architecture, variant];
  const valid = words.every((word) => typeof word === "string" && platformWord.test(word));
  return valid ? words.join("/") : undefined;
}

/** True for a layer that names `urls` or is of a type that is not to be distributed. */
export function isForeign(object: JsonObject): boolean {
  return (Array.isArray(object.urls) && object.urls.length > 0) || foreignTypes.test(typeOf(object));
}

function typeOf(object: JsonObject): string {
  return (typeof object.mediaType === "string" ? bareMediaType(object.mediaType) : undefined) ?? "";
}
