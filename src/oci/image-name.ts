// Names of images as people write them and clients pull them: `registry.example.com/team/app:1.0`, `team/app@sha256:…`.
import { type Digest, parseDigest } from "./digest.ts";
import { parseRepository, parseTag, type Repository } from "./name.ts";
import type { Reference } from "./reference.ts";

export interface ImageName {
  /** The registry, with its port, in lower case. As in docker, the first part is one with a dot or a colon, or `localhost`. */
  readonly host: string | undefined;
  readonly repository: Repository;
  /** What stands behind the colon, as it is: a tag, or a pattern over tags. Undefined: nothing does. */
  readonly tag: string | undefined;
  /** Undefined: there is none. It counts more than the tag beside it. */
  readonly digest: Digest | undefined;
}

/** Undefined for what is no name. */
export function parseImageName(text: string): ImageName | undefined {
  const written = text.trim().replace(/^[a-z-]+:\/\//, "");
  const at = written.indexOf("@");
  const digest = at < 0 ? undefined : parseDigest(written.slice(at + 1));
  if (at >= 0 && digest === undefined) return undefined;
  const named = at < 0 ? written : written.slice(0, at);
  const slash = named.indexOf("/");
  const first = named.slice(0, Math.max(0, slash)).toLowerCase();
  const host = first === "localhost" || /^[a-z0-9[].*[.:]/.test(first) ? first : undefined;
  const rest = host === undefined ? named : named.slice(slash + 1);
  const colon = rest.indexOf(":");
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  const repository = parseRepository(colon < 0 ? rest : rest.slice(0, colon));
  return repository === undefined || tag === "" ? undefined : { host, repository, tag, digest };
}

/** `latest` where nothing is said; undefined for a pattern, and for what is no tag. */
export function referenceOf({
  tag: text = "latest",
  digest,
}: Pick<ImageName, "tag" | "digest">): Reference | undefined {
  if (digest !== undefined) return { kind: "digest", digest };
  const tag = parseTag(text);
  return tag && { kind: "tag", tag };
}
