// Manifests: tags with a time to live, revalidated by HEAD, stale while upstream fails; digests for ever.
// A tag is never answered with a digest whose body is not here.
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { type Digest, type DigestAlgorithm, digestAlgorithm, makeDigest } from "../oci/digest.ts";
import { readManifest } from "../oci/manifest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { NoticeSink, Result, Source } from "../telemetry/event.ts";
import type { Access } from "./access.ts";
import type { BlobCache, OpenedBlob } from "./blob-cache.ts";
import type { Pause } from "./fill.ts";
import type { Freshness } from "./freshness.ts";
import type { LocalBlobs, LocalManifest } from "./local-blobs.ts";
import {
  type Clock,
  type ManifestAnswer,
  type Refusal,
  type TagRecord,
  type TagStore,
  type Upstream,
  UpstreamError,
} from "./ports.ts";
import { flightKey, SingleFlight } from "./single-flight.ts";
import { noticeOfStoreError } from "./store-notice.ts";

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
type Oversize = { readonly kind: "oversize"; readonly digest: Digest; readonly mediaType: string };
type Resolution = Resolved | Oversize | Refusal;

export class Manifests {
  readonly #options: ManifestsOptions;
  readonly #flights = new SingleFlight<Resolution>();
  /** Tags whose revalidation failed lately, with the reason. */
  readonly #failures: LRUCache<string, UpstreamError>;

  constructor(options: ManifestsOptions) {
    this.#options = options;
    const { clock } = options;
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
      if (proof.kind === "found") await this.#link(upstream, repository, digest, here);
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
    const record = await this.#record(upstream, repository, tag);
    const manifest = record && (await local.manifest(record.digest));
    const state = record && freshness.state(record, freshness.ttl(repository, tag), clock());
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
    const late = this.#options.pause(revalidationPatience, patience.signal).then(
      () => "late" as const,
      () => "settled" as const,
    );
    try {
      const first = await Promise.race([flight, late]);
      if (first === "late") throw new UpstreamError("timeout", "upstream is slow to confirm the tag");
      return first === "settled" ? await flight : first;
    } finally {
      flight.catch(() => {});
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
      if (resolution.kind === "found") await this.#putRecord(upstream, repository, tag, resolution.record);
      if (resolution.kind === "absent" || resolution.kind === "denied")
        await this.#deleteRecord(upstream, repository, tag);
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
      if (digest !== record.digest) await this.#link(upstream, repository, digest, here);
      return { kind: "found", how: "revalidated", manifest: here, record: this.#newRecord(digest, here) };
    }
    // By the digest HEAD named, so that a tag moving meanwhile cannot mix two answers.
    const moved = await this.#fetch(upstream, repository, { kind: "digest", digest: head.digest });
    return moved.kind === "absent" ? this.#fetch(upstream, repository, byTag) : moved;
  }

  // ---- upstream's body ----------------------------------------------------------------------------------------

  /** GET, verify, store, link. */
  async #fetch(upstream: Upstream, repository: Repository, reference: Reference): Promise<Resolution> {
    const answer = await upstream.getManifest(repository, reference);
    if (answer.kind === "absent" || answer.kind === "denied") return answer;
    const wanted = reference.kind === "digest" ? reference.digest : answer.digest;
    if (answer.kind === "oversize") return oversize(answer, wanted);
    const digest = digestOf(answer.body, wanted === undefined ? "sha256" : digestAlgorithm(wanted));
    if (wanted !== undefined && digest !== wanted) {
      throw new UpstreamError(
        "digest_mismatch",
        `upstream sent a manifest with digest ${digest} for ${wanted}`,
      );
    }
    const manifest = readManifest(answer.body, answer.mediaType);
    if (typeof manifest === "string") {
      throw new UpstreamError("protocol", `upstream's manifest ${digest} cannot be used: ${manifest}`);
    }
    const { mediaType, children } = manifest;
    const { local, access } = this.#options;
    await local.putManifest(
      digest,
      { body: answer.body, mediaType },
      children.map((child) => child.digest),
    );
    await access.link(upstream, repository, [{ digest, size: answer.body.length }, ...children]);
    const here: LocalManifest = { body: answer.body, mediaType, source: `upstream:${upstream.name}` };
    return { kind: "found", how: "miss", manifest: here, record: this.#newRecord(digest, here) };
  }

  /** Upstream showed this repository a manifest that another one had brought here: so are its parts readable. */
  async #link(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    here: LocalManifest,
  ): Promise<void> {
    const manifest = readManifest(here.body, here.mediaType);
    const children = typeof manifest === "string" ? [] : manifest.children;
    await this.#options.access.link(upstream, repository, [{ digest, size: here.body.length }, ...children]);
  }

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

  // ---- tag records: a store that fails costs a question to upstream ---------------------------------------------

  #newRecord(digest: Digest, { mediaType, body }: LocalManifest): TagRecord {
    return { digest, mediaType, size: body.length, checkedAt: this.#options.clock() };
  }

  async #record(upstream: Upstream, repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    try {
      return await this.#options.tags.get(upstream.name, repository, tag);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("tags.get", error));
      return undefined;
    }
  }

  async #putRecord(upstream: Upstream, repository: Repository, tag: Tag, record: TagRecord): Promise<void> {
    try {
      await this.#options.tags.put(upstream.name, repository, tag, record);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("tags.put", error));
    }
  }

  async #deleteRecord(upstream: Upstream, repository: Repository, tag: Tag): Promise<void> {
    try {
      await this.#options.tags.delete(upstream.name, repository, tag);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("tags.delete", error));
    }
  }
}

function digestOf(body: Buffer, algorithm: DigestAlgorithm): Digest {
  return makeDigest(algorithm, createHash(algorithm).update(body).digest("hex"));
}

/** Without a digest nothing could be verified on the way, so it is refused. */
function oversize(
  answer: Extract<ManifestAnswer, { kind: "oversize" }>,
  digest: Digest | undefined,
): Oversize {
  if (digest === undefined)
    throw new UpstreamError("too_large", "upstream's manifest is above 4 MiB and names no digest");
  return { kind: "oversize", digest, mediaType: answer.mediaType ?? "application/octet-stream" };
}
