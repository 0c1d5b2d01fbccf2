// Manifests: tags with a time to live, revalidated by HEAD, stale while upstream fails; digests for ever.
// A tag is never answered with a digest whose body is not here.
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { NoticeSink, Result, Source } from "../telemetry/event.ts";
import type { Access } from "./access.ts";
import type { BlobCache, OpenedBlob } from "./blob-cache.ts";
import type { Sharing } from "./fill-source.ts";
import { type Freshness, isFallbackTag } from "./freshness.ts";
import type { LocalBlobs, LocalManifest } from "./local-blobs.ts";
import { type FetchedManifest, ManifestSource, type OversizeManifest } from "./manifest-source.ts";
import type { NegativeAnswers } from "./negative-answers.ts";
import type { Clock, Pause, Refusal, TagRecord, TagStore, Upstream, UpstreamError } from "./ports.ts";
import { type Question, Revalidation } from "./revalidation.ts";
import { flightKey } from "./single-flight.ts";
import { TagRecords } from "./tag-records.ts";

export interface ManifestsOptions {
  readonly local: LocalBlobs;
  readonly blobs: BlobCache;
  readonly access: Access;
  readonly tags: TagStore;
  readonly freshness: Freshness;
  readonly negative: NegativeAnswers;
  /** What this node shares with others; left out: nothing. */
  readonly sharing?: Sharing | undefined;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

export interface OpenedManifest {
  readonly kind: "found";
  readonly result: Extract<Result, "hit" | "stale" | "revalidated" | "miss" | "joined">;
  readonly source: Source;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly body: Buffer;
  /** Milliseconds since upstream last confirmed the tag; 0 for digests. */
  readonly age: number;
}

/** A manifest above 4 MiB: a stream that is verified on the way and not stored. */
export interface RelayedManifest extends OpenedBlob {
  readonly digest: Digest;
  readonly mediaType: string;
}

export type ManifestOpened = OpenedManifest | RelayedManifest | Refusal;

type Resolved = {
  readonly kind: "found";
  readonly how: "miss" | "revalidated";
  readonly record: TagRecord;
  readonly manifest: LocalManifest;
};
type Resolution = Resolved | OversizeManifest | Refusal;

/** A tag record whose body is here. */
interface InHand {
  readonly record: TagRecord;
  readonly manifest: LocalManifest;
}

const remembered: Refusal = { kind: "absent", negative: true };

export class Manifests {
  readonly #options: ManifestsOptions;
  readonly #source: ManifestSource;
  readonly #records: TagRecords;
  readonly #revalidation: Revalidation<Resolution>;

  constructor(options: ManifestsOptions) {
    this.#options = options;
    const { local, access, tags, notices } = options;
    this.#source = new ManifestSource(local, access, options.sharing?.blobs);
    this.#records = new TagRecords(tags, notices);
    this.#revalidation = new Revalidation(options);
  }

  /** Rejects with UpstreamError when upstream has to answer and cannot. */
  open(upstream: Upstream, repository: Repository, reference: Reference): Promise<ManifestOpened> {
    return reference.kind === "tag"
      ? this.#byTag(upstream, repository, reference.tag)
      : this.#byDigest(upstream, repository, reference.digest);
  }

  /**
   * Somebody has written the reference upstream, through this node: the next client is told what is there now.
   * `unsure` when it may or may not have happened: a tag has to be confirmed, and stays for when upstream fails.
   */
  async changed(
    upstream: Upstream,
    repository: Repository,
    reference: Reference,
    what: "pushed" | "deleted" | "unsure",
  ): Promise<void> {
    if (reference.kind === "digest") {
      if (what === "pushed") return;
      this.#records.digestDeleted(upstream, repository, reference.digest, this.#options.clock());
      await this.#options.access.unlink(upstream, repository, reference.digest);
      return;
    }
    const { tag } = reference;
    const record = what === "unsure" ? await this.#records.get(upstream, repository, tag) : undefined;
    // A question under way may bring the answer of before.
    this.#revalidation.forget(flightKey(upstream.name, repository, tag));
    await this.#records.delete(upstream, repository, tag);
    const { freshness, clock } = this.#options;
    const expired = clock() - freshness.ttl(upstream.name, repository, tag);
    const checkedAt = Math.min(record?.checkedAt ?? 0, expired);
    if (record !== undefined && Number.isFinite(checkedAt))
      await this.#records.put(upstream, repository, tag, { ...record, checkedAt }, undefined);
  }

  // ---- by digest ----------------------------------------------------------------------------------------------

  async #byDigest(upstream: Upstream, repository: Repository, digest: Digest): Promise<ManifestOpened> {
    const { access, negative } = this.#options;
    const here = await this.#source.stored(digest);
    if (here !== undefined) {
      const proof = await access.prove(upstream, repository, digest, "manifest");
      if (proof.kind === "absent" || proof.kind === "denied") return proof;
      if (proof.kind === "found") await this.#source.link(upstream, repository, digest, here);
      return { kind: "found", result: "hit", digest, age: 0, ...here };
    }
    if (negative.has(upstream.name, repository, "manifest", digest)) return remembered;
    const { value, joined } = await this.#revalidation.fetch(
      flightKey(upstream.name, repository, digest),
      () => this.#fetch(upstream, repository, { kind: "digest", digest }),
    );
    if (value.kind === "absent") {
      await access.unlink(upstream, repository, digest);
      negative.add(upstream.name, repository, "manifest", digest);
    }
    return this.#answer(upstream, repository, value, joined);
  }

  // ---- by tag -------------------------------------------------------------------------------------------------

  async #byTag(upstream: Upstream, repository: Repository, tag: Tag): Promise<ManifestOpened> {
    const { freshness, clock, negative } = this.#options;
    const record = await this.#records.get(upstream, repository, tag);
    const manifest = record && (await this.#source.stored(record.digest));
    const inHand = record !== undefined && manifest !== undefined ? { record, manifest } : undefined;
    const state = record && freshness.state(record, freshness.ttl(upstream.name, repository, tag), clock());
    if (inHand !== undefined && state === "fresh") return this.#found("hit", inHand);
    if (negative.has(upstream.name, repository, "manifest", tag)) return remembered;
    const key = flightKey(upstream.name, repository, tag);
    const ask: Question<Resolution> = (counts) => this.#resolve(upstream, repository, tag, record, counts);
    if (inHand === undefined || state !== "stale") {
      const { value, joined } = await this.#revalidation.fetch(key, ask);
      return this.#answer(upstream, repository, value, joined);
    }
    const outcome = await this.#revalidation.refresh(key, ask);
    return outcome.kind === "answered"
      ? this.#answer(upstream, repository, outcome.value, outcome.joined)
      : this.#stale(upstream, repository, tag, inHand, outcome.reason);
  }

  #stale(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    inHand: InHand,
    reason: UpstreamError,
  ): OpenedManifest {
    const stale = this.#found("stale", inHand);
    this.#options.notices({
      kind: "stale_served",
      upstream: upstream.name,
      repository,
      tag,
      ageMs: stale.age,
      reason: reason.code,
    });
    return stale;
  }

  async #resolve(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    record: TagRecord | undefined,
    counts: () => boolean,
  ): Promise<Resolution> {
    const resolution = await this.#ask(upstream, repository, tag, record);
    if (!counts()) return resolution;
    if (resolution.kind === "found")
      await this.#records.put(upstream, repository, tag, resolution.record, record);
    else await this.#records.delete(upstream, repository, tag);
    if (resolution.kind === "absent" && !isFallbackTag(tag))
      this.#options.negative.add(upstream.name, repository, "manifest", tag);
    return resolution;
  }

  /** HEAD when there is something to confirm; the body only when it moved or is not here. */
  async #ask(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    record: TagRecord | undefined,
  ): Promise<Resolution> {
    const byTag: Reference = { kind: "tag", tag };
    if (record === undefined) return this.#fetch(upstream, repository, byTag);
    const head = await upstream.headManifest(repository, byTag);
    if (head.kind !== "found") return head;
    if (head.digest === undefined) return this.#fetch(upstream, repository, byTag);
    const here = await this.#source.stored(head.digest);
    if (here !== undefined) {
      const { digest } = head;
      if (digest !== record.digest) await this.#source.link(upstream, repository, digest, here);
      return this.#resolved("revalidated", { digest, manifest: here, age: head.age });
    }
    // By the digest HEAD named, so that a tag moving meanwhile cannot mix two answers.
    const moved = await this.#fetch(upstream, repository, { kind: "digest", digest: head.digest });
    return moved.kind === "absent" ? this.#fetch(upstream, repository, byTag) : moved;
  }

  async #fetch(upstream: Upstream, repository: Repository, reference: Reference): Promise<Resolution> {
    const fetched = await this.#source.fetch(upstream, repository, reference);
    return fetched.kind === "found" ? this.#resolved("miss", fetched) : fetched;
  }

  /** What another mirror answers is as old here as it was there: the ages of a chain do not add up. */
  #resolved(how: Resolved["how"], { digest, manifest, age = 0 }: Omit<FetchedManifest, "kind">): Resolved {
    const { mediaType, body } = manifest;
    const checkedAt = this.#options.clock() - age * 1000;
    const record = { digest, mediaType, size: body.length, checkedAt };
    return { kind: "found", how, manifest, record };
  }

  // ---- answers ------------------------------------------------------------------------------------------------

  async #answer(
    upstream: Upstream,
    repository: Repository,
    resolution: Resolution,
    joined: boolean,
  ): Promise<ManifestOpened> {
    if (resolution.kind === "absent" || resolution.kind === "denied") return resolution;
    if (resolution.kind === "found") {
      return this.#found(joined ? "joined" : resolution.how, resolution);
    }
    const { digest, mediaType } = resolution;
    const relayed = await this.#options.blobs.relayManifest(upstream, repository, digest);
    return relayed.kind === "found" ? { ...relayed, digest, mediaType } : relayed;
  }

  #found(result: OpenedManifest["result"], { record, manifest }: InHand): OpenedManifest {
    const age = Math.max(0, this.#options.clock() - record.checkedAt);
    return { kind: "found", result, digest: record.digest, age, ...manifest };
  }
}
