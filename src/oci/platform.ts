// Which image of an index is for which machine (image-spec, "Image Index": `platform`), and which of its entries says
// something about another one (BuildKit's attestations).
import { isJsonObject } from "./descriptor.ts";
import { type Digest, parseDigest } from "./digest.ts";

/** As in `linux/arm64/v8`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Undefined: any. */
  readonly variant: string | undefined;
}

/** What an index says of one of its entries. */
export interface IndexEntry {
  /** Undefined: it names none. */
  readonly platform: Platform | undefined;
  /** The image it is an attestation of (docs.docker.com, "Image attestation storage"). */
  readonly attests: Digest | undefined;
}

const grammar = /^([a-z0-9]{1,32})\/([a-z0-9_]{1,32})(?:\/([a-z0-9._]{1,32}))?$/;

/** `os/architecture` or `os/architecture/variant`; undefined for anything else. */
export function parsePlatform(text: string): Platform | undefined {
  const [, os, architecture, variant] = grammar.exec(text) ?? [];
  return os === undefined || architecture === undefined ? undefined : { os, architecture, variant };
}

/** Whether the image of the entry is for one of `wanted`. One that names no platform may be for any. */
export function isFor({ platform }: IndexEntry, wanted: readonly Platform[]): boolean {
  if (platform === undefined) return true;
  return wanted.some(
    ({ os, architecture, variant }) =>
      platform.os === os &&
      platform.architecture === architecture &&
      (variant === undefined ||
        normalVariant(architecture, platform.variant) === normalVariant(architecture, variant)),
  );
}

/** The variants that go without saying. */
const usualVariants: Readonly<Record<string, string>> = { arm64: "v8", arm: "v7", amd64: "v1" };

/** As containerd compares them (github.com/containerd/platforms, normalizeArch): `8` is `v8`, and none is the usual one. */
function normalVariant(architecture: string, variant: string | undefined): string | undefined {
  if (variant === undefined || variant === "") return usualVariants[architecture];
  return /^\d/.test(variant) ? `v${variant}` : variant;
}

/** The entries of an index by digest. `body`: of a manifest that `readManifest` has read, which bounds it. */
export function indexEntries(body: Buffer): ReadonlyMap<Digest, IndexEntry> {
  const json: unknown = JSON.parse(body.toString("utf8"));
  const listed = isJsonObject(json) && Array.isArray(json.manifests) ? (json.manifests as unknown[]) : [];
  const entries = new Map<Digest, IndexEntry>();
  for (const value of listed) {
    if (!isJsonObject(value)) continue;
    const digest = digestIn(value.digest);
    if (digest === undefined || entries.has(digest)) continue;
    const { platform, annotations } = value;
    entries.set(digest, {
      platform: isJsonObject(platform) ? platformIn(platform) : undefined,
      attests: isJsonObject(annotations) ? digestIn(annotations["vnd.docker.reference.digest"]) : undefined,
    });
  }
  return entries;
}

/**
 * Entries of an index that are for none of `wanted`, and attestations of such: what a copy for these platforms leaves out. None where
 * no platform is wanted in particular. `body` as above.
 */
export function otherPlatforms(body: Buffer, wanted: readonly Platform[]): ReadonlySet<Digest> {
  const others = new Set<Digest>();
  if (wanted.length === 0) return others;
  const entries = indexEntries(body);
  for (const [digest, entry] of entries)
    if (entry.attests === undefined && !isFor(entry, wanted)) others.add(digest);
  for (const [digest, { attests }] of entries)
    if (attests !== undefined && (others.has(attests) || !entries.has(attests))) others.add(digest);
  return others;
}

function digestIn(value: unknown): Digest | undefined {
  return typeof value === "string" ? parseDigest(value) : undefined;
}

function platformIn({ os, architecture, variant }: Readonly<Record<string, unknown>>): Platform | undefined {
  if (typeof os !== "string" || typeof architecture !== "string") return undefined;
  return { os, architecture, variant: typeof variant === "string" ? variant : undefined };
}
