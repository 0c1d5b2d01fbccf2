// What upstream says that a tag or a digest is now.
import type { Repository, Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { Clock } from "../ports/clock.ts";
import type { TagRecord } from "../ports/records.ts";
import type { Upstream } from "../ports/upstream.ts";
import type { Refusal, RelayedHeaders } from "../ports/upstream-answer.ts";
import type { LocalManifest } from "./local-blobs.ts";
import type {
  FetchedManifest,
  ManifestSource,
  OversizeManifest,
  UncachedManifest,
} from "./manifest-source.ts";

export interface Resolved {
  readonly kind: "found";
  readonly how: "miss" | "revalidated";
  readonly cacheStatus: string | undefined;
  readonly relayed: RelayedHeaders | undefined;
  readonly record: TagRecord;
  readonly manifest: LocalManifest;
}
export type Resolution = Resolved | OversizeManifest | UncachedManifest | Refusal;

export class Resolver {
  readonly #source: ManifestSource;
  readonly #clock: Clock;

  constructor(source: ManifestSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** HEAD when there is something to confirm; the body only when it moved or is not here. Rejects with UpstreamError. */
  async byTag(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    record: TagRecord | undefined,
  ): Promise<Resolution> {
    const byTag: Reference = { kind: "tag", tag };
    if (record === undefined) return this.fetch(upstream, repository, byTag);
    const head = await upstream.headManifest(repository, byTag);
    if (head.kind !== "found") return head;
    if (head.digest === undefined) return this.fetch(upstream, repository, byTag);
    const here = await this.#source.stored(head.digest);
    if (here !== undefined) {
      const { digest } = head;
      if (digest !== record.digest) await this.#source.link(upstream, repository, digest, here);
      return this.#resolved("revalidated", { ...head, digest, manifest: here });
    }
    // By the digest HEAD named, so that a tag moving meanwhile cannot mix two answers.
    const byDigest: Reference = { kind: "digest", digest: head.digest };
    // What is said of a digest is always fresh; it was HEAD that told of the tag.
    const moved = await this.fetch(upstream, repository, byDigest, head.age);
    return moved.kind === "absent" ? this.fetch(upstream, repository, byTag) : moved;
  }

  /** Rejects with UpstreamError. `age`: in seconds, when another answer told it. */
  async fetch(
    upstream: Upstream,
    repository: Repository,
    reference: Reference,
    age?: number,
  ): Promise<Resolution> {
    const fetched = await this.#source.fetch(upstream, repository, reference);
    if (fetched.kind !== "found") return fetched;
    return this.#resolved("miss", age === undefined ? fetched : { ...fetched, age });
  }

  /** What another mirror answers is as old here as it was there: the ages of a chain do not add up. */
  #resolved(how: Resolved["how"], said: Omit<FetchedManifest, "kind">): Resolved {
    const { digest, manifest, age = 0, cacheStatus, relayed } = said;
    const { mediaType, body } = manifest;
    const checkedAt = this.#clock() - age * 1000;
    const record = { digest, mediaType, size: body.length, checkedAt };
    return { kind: "found", how, manifest, record, cacheStatus, relayed };
  }
}
