// Manifests: tags with a time to live, revalidated by HEAD, stale while upstream fails; digests for ever.
// A tag is never answered with a digest whose body is not here.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { NoticeSink, Result, Source } from "../telemetry/event.ts";
import type { Access } from "./access.ts";
import type { BlobCache, OpenedBlob } from "./blob-cache.ts";
import type { Freshness } from "./freshness.ts";
import type { LocalBlobs, LocalManifest } from "./local-blobs.ts";
import { type FetchedManifest, ManifestSource, type OversizeManifest } from "./manifest-source.ts";
import {
  type Clock,
  type Pause,
  type Refusal,
  type TagRecord,
  type TagStore,
  type Upstream,
  UpstreamError,
} from "./ports.ts";
import { flightKey, SingleFlight } from "./single-flight.ts";
import { TagRecords } from "./tag-records.ts";

/** With an expired record in hand, clients wait this long for upstream; the question goes on behind them. */
const revalidationPatience = 1_000;
/** After a failed revalidation the stale record answers at once for this long (nginx#1000: no retry per request). */
const failureMemory = 5_000;

export interface ManifestsOptions {
  readonly local: LocalBlobs;
  readonly blobs: BlobCache;
  readonly access: Access;
  readonly tags: TagStore;
  readonly freshness: Freshness;
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

export class Manifests {
  readonly #options: ManifestsOptions;
  readonly #source: ManifestSource;
  readonly #records: TagRecords;
  readonly #flights = new SingleFlight<Resolution>();
  /** Tags whose revalidation failed lately, with the reason. */
  readonly #failures: LRUCache<string, UpstreamError>;

  constructor(options: ManifestsOptions) {
    this.#options = options;
    const { local, access, tags, notices, clock } = options;
    this.#source = new ManifestSource(local, access);
    this.#records = new TagRecords(tags, notices);
    this.#failures = new LRUCache({
      max: 10_000,
      ttl: failureMemory,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** Rejects with UpstreamError when upstream has to answer and cannot. */
  open(upstream: Upstream, repository: Repository, reference: Reference): Promise<ManifestOpened> {
    return reference.kind === "tag"
      ? this.#byTag(upstream, repository, reference.tag)
      : this.#byDigest(upstream, repository, reference.digest);
  }

  // ---- by digest ----------------------------------------------------------------------------------------------

  async #byDigest(upstream: Upstream, repository: Repository, digest: Digest): Promise<ManifestOpened> {
    const { local, access } = this.#options;
    const here = await local.manifest(digest);
    if (here !== undefined) {
      const proof = await access.prove(upstream, repository, digest, "manifest");
      if (proof.kind === "absent" || proof.kind === "denied") return proof;
      if (proof.kind === "found") await this.#source.link(upstream, repository, digest, here);
      return { kind: "found", result: "hit", digest, age: 0, ...here };
    }
    const key = flightKey(upstream.name, repository, digest);
    const { promise, joined } = this.#flights.run(key, () =>
      this.#fetch(upstream, repository, { kind: "digest", digest }),
    );
    const resolution = await promise;
    if (resolution.kind === "absent") await access.unlink(upstream, repository, digest);
    return this.#answer(upstream, repository, resolution, joined);
  }

  // ---- by tag -------------------------------------------------------------------------------------------------

  async #byTag(upstream: Upstream, repository: Repository, tag: Tag): Promise<ManifestOpened> {
    const { local, freshness, clock } = this.#options;
    const record = await this.#records.get(upstream, repository, tag);
    const manifest = record && (await local.manifest(record.digest));
    const state = record && freshness.state(record, freshness.ttl(upstream.name, repository, tag), clock());
    if (record !== undefined && manifest !== undefined && state === "fresh") {
      return this.#found("hit", record, manifest);
    }
    const fallback =
      record !== undefined && manifest !== undefined && state === "stale" ? { record, manifest } : undefined;
    return this.#refresh(upstream, repository, tag, record, fallback);
  }

  /** Asks upstream, once for all who ask at the same time; `fallback` is what may be served when it fails. */
  async #refresh(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    record: TagRecord | undefined,
    fallback: { readonly record: TagRecord; readonly manifest: LocalManifest } | undefined,
  ): Promise<ManifestOpened> {
    const key = flightKey(upstream.name, repository, tag);
    const failure = this.#failures.get(key);
    if (fallback !== undefined && failure !== undefined)
      return this.#stale(upstream, repository, tag, fallback, failure);
    const { promise, joined } = this.#flights.run(key, () =>
      this.#resolve(upstream, repository, tag, record, key),
    );
    if (fallback === undefined) return this.#answer(upstream, repository, await promise, joined);
    try {
      const resolution = await this.#inTime(promise);
      return await this.#answer(upstream, repository, resolution, joined);
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      return this.#stale(upstream, repository, tag, fallback, error);
    }
  }

  /** The flight's outcome, or UpstreamError "timeout" when it takes longer than clients with a stale record wait. */
  async #inTime(flight: Promise<Resolution>): Promise<Resolution> {
    const patience = new AbortController();
    const late = this.#options.pause(revalidationPatience, patience.signal).then(() => {
      throw new UpstreamError("timeout", "upstream is slow to confirm the tag");
    });
    try {
      return await Promise.race([flight, late]);
    } finally {
      // Whichever loses has nobody left to listen.
      for (const loser of [flight, late]) loser.catch(() => {});
      patience.abort();
    }
  }

  #stale(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    { record, manifest }: { readonly record: TagRecord; readonly manifest: LocalManifest },
    reason: UpstreamError,
  ): OpenedManifest {
    const stale = this.#found("stale", record, manifest);
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
    key: string,
  ): Promise<Resolution> {
    try {
      const resolution = await this.#ask(upstream, repository, tag, record);
      if (resolution.kind === "found")
        await this.#records.put(upstream, repository, tag, resolution.record, record);
      else await this.#records.delete(upstream, repository, tag);
      this.#failures.delete(key);
      return resolution;
    } catch (error) {
      if (error instanceof UpstreamError) this.#failures.set(key, error);
      throw error;
    }
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
    const here = await this.#options.local.manifest(head.digest);
    if (here !== undefined) {
      const { digest } = head;
      if (digest !== record.digest) await this.#source.link(upstream, repository, digest, here);
      return this.#resolved("revalidated", { digest, manifest: here });
    }
    // By the digest HEAD named, so that a tag moving meanwhile cannot mix two answers.
    const moved = await this.#fetch(upstream, repository, { kind: "digest", digest: head.digest });
    return moved.kind === "absent" ? this.#fetch(upstream, repository, byTag) : moved;
  }

  async #fetch(upstream: Upstream, repository: Repository, reference: Reference): Promise<Resolution> {
    const fetched = await this.#source.fetch(upstream, repository, reference);
    return fetched.kind === "found" ? this.#resolved("miss", fetched) : fetched;
  }

  #resolved(how: Resolved["how"], { digest, manifest }: Omit<FetchedManifest, "kind">): Resolved {
    const { mediaType, body } = manifest;
    const record = { digest, mediaType, size: body.length, checkedAt: this.#options.clock() };
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
      return this.#found(joined ? "joined" : resolution.how, resolution.record, resolution.manifest);
    }
    const { digest, mediaType } = resolution;
    const relayed = await this.#options.blobs.relayManifest(upstream, repository, digest);
    return relayed.kind === "found" ? { ...relayed, digest, mediaType } : relayed;
  }

  #found(result: OpenedManifest["result"], record: TagRecord, manifest: LocalManifest): OpenedManifest {
    const age = Math.max(0, this.#options.clock() - record.checkedAt);
    return { kind: "found", result, digest: record.digest, age, ...manifest };
  }
}
