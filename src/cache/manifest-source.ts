// Where manifests come from: this node, the store all nodes share, and upstream, which also says what a tag or a digest is
// now; while it fails, another node. A mirror of another datacenter is asked before upstream, where the right to the digest is
// known. What any of them sends is verified, read, stored and linked before a client is given it.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, makeDigest } from "../oci/digest.ts";
import { type Descriptor, largestManifest, readManifest, signedPayload } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { Clock } from "../ports/clock.ts";
import type { Source } from "../ports/event.ts";
import type { TagRecord } from "../ports/records.ts";
import { keyIn, type Scope } from "../ports/scope.ts";
import type { SharedBlobs } from "../ports/shared.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import {
  type CacheMarks,
  isRefusal,
  type ManifestAnswer,
  type OversizeAnswer,
  type Refusal,
  type RelayedHeaders,
} from "../ports/upstream-answer.ts";
import type { Access } from "./access.ts";
import type { Sharing } from "./fill/source.ts";
import type { LocalBlobs, LocalManifest } from "./local-blobs.ts";

/** A manifest that is here, and the record of it as upstream has just confirmed it. */
export interface Resolved {
  readonly kind: "found";
  readonly how: "miss" | "revalidated";
  readonly cacheStatus: string | undefined;
  readonly relayed: RelayedHeaders | undefined;
  readonly record: TagRecord;
  readonly manifest: LocalManifest;
}

/** A manifest above 4 MiB, which has not been read. */
export interface OversizeManifest extends OversizeAnswer {
  readonly digest: Digest;
  readonly mediaType: string;
}

/** A manifest that is verified and that the cache cannot keep: it goes to the clients that asked, and to no other. */
export interface UncachedManifest {
  readonly kind: "uncached";
  readonly digest: Digest;
  readonly mediaType: string;
  readonly body: Buffer;
}

/** What upstream says that a tag or a digest is now. */
export type Resolution = Resolved | OversizeManifest | UncachedManifest | Refusal;

interface FetchedManifest extends CacheMarks {
  readonly kind: "found";
  readonly digest: Digest;
  readonly manifest: LocalManifest;
}

export interface ManifestSourceOptions {
  readonly local: LocalBlobs;
  readonly access: Access;
  readonly sharing?: Sharing | undefined;
  readonly clock: Clock;
}

export class ManifestSource {
  readonly #local: LocalBlobs;
  readonly #access: Access;
  readonly #sharing: Sharing;
  readonly #shared: Sharing["blobs"];
  readonly #clock: Clock;
  readonly #lookups = new SingleFlight<LocalManifest | undefined>();
  readonly #fromNodes = new SingleFlight<Resolution | undefined>();

  constructor({ local, access, sharing, clock }: ManifestSourceOptions) {
    this.#local = local;
    this.#access = access;
    this.#sharing = sharing ?? {};
    this.#shared = sharing?.blobs;
    this.#clock = clock;
  }

  /** From this node, else from the shared store, whose bytes are verified and kept here. */
  async stored(digest: Digest): Promise<LocalManifest | undefined> {
    const here = await this.#local.manifest(digest);
    if (here !== undefined || this.#shared === undefined || this.#local.purged.hasJust(digest)) return here;
    const { store } = this.#shared;
    return this.#lookups.run(digest, () => this.#fromShared(store, digest)).promise;
  }

  /** Undefined also for what is no manifest, and when the store fails, of which it sends a notice itself. */
  async #fromShared(store: SharedBlobs, digest: Digest): Promise<LocalManifest | undefined> {
    const over = new AbortController();
    const asOf = this.#local.purged.count;
    try {
      const found = await store.open(digest, 0, over.signal);
      if (found?.mediaType === undefined || found.size > largestManifest) return undefined;
      const chunks: Buffer[] = [];
      for await (const chunk of found.body) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      if (hashOf(body, digest) !== digest)
        throw new UpstreamError("digest_mismatch", "not what it is stored as");
      const manifest = readManifest(body, found.mediaType);
      if (typeof manifest === "string") return undefined;
      await this.#local.putManifest(digest, body, manifest, asOf);
      return { body, mediaType: manifest.mediaType, source: store.source };
    } catch (error) {
      if (error instanceof UpstreamError) await store.delete(digest).catch(() => {});
      return undefined;
    } finally {
      over.abort();
    }
  }

  /**
   * What upstream says of the tag: by HEAD when there is a record to confirm, and by GET only when the tag has moved or
   * its body is not here. Rejects with UpstreamError.
   */
  async byTag(remote: RemoteRepository, tag: Tag, record: TagRecord | undefined): Promise<Resolution> {
    const byTag: Reference = { kind: "tag", tag };
    if (record === undefined) return this.fetch(remote, byTag);
    const head = await remote.registry.headManifest(remote.repository, byTag);
    if (head.kind !== "found") return head;
    if (head.digest === undefined) return this.fetch(remote, byTag);
    const here = await this.stored(head.digest);
    if (here !== undefined) {
      const { digest } = head;
      if (digest !== record.digest) await this.link(remote, digest, here);
      return this.#resolved("revalidated", { ...head, digest, manifest: here });
    }
    // By the digest HEAD named, so that a tag that moves meanwhile cannot mix two answers.
    const byDigest: Reference = { kind: "digest", digest: head.digest };
    // The age is that of the answer to HEAD, which was about the tag: an answer about a digest is always fresh.
    // That answer is the right to it as well.
    const near = await this.#fromSibling(remote, head.digest);
    if (near !== undefined) return this.#resolved("miss", near, head.age);
    const moved = await this.fetch(remote, byDigest, head.age);
    return moved.kind === "absent" ? this.fetch(remote, byTag) : moved;
  }

  /** What upstream gives for the tag to who takes only these media types. Rejects as `fetch` does. */
  async byTagAs(remote: RemoteRepository, tag: Tag, accept: string): Promise<Resolution> {
    const { registry, repository, onBehalfOf } = remote;
    const byTag: Reference = { kind: "tag", tag };
    const ask = () => registry.getManifest(repository, byTag, accept, onBehalfOf?.user);
    const fetched = await this.#fetch(remote, byTag, ask);
    return fetched.kind === "found" ? this.#resolved("miss", fetched) : fetched;
  }

  /**
   * What upstream gives for the reference. `age` in seconds, when another answer said it. Rejects with UpstreamError,
   * also for a body that is not what was asked for or that must not be served.
   */
  async fetch(remote: RemoteRepository, reference: Reference, age?: number): Promise<Resolution> {
    const { registry, repository, onBehalfOf } = remote;
    const ask = () => registry.getManifest(repository, reference, undefined, onBehalfOf?.user);
    const fetched = await this.#fetch(remote, reference, ask);
    return fetched.kind === "found" ? this.#resolved("miss", fetched, age) : fetched;
  }

  /**
   * As `fetch`, by digest; of a sibling first, where the repository is known to have it. Where it is not, the answer of upstream,
   * which proves it, is the manifest itself. `asked` gets the names of the siblings that were.
   */
  async byDigest(
    remote: RemoteRepository,
    digest: Digest,
    asked: Set<string> = new Set(),
  ): Promise<Resolution> {
    const near = await this.#fromSiblingIfLinked(remote, digest, asked);
    if (near !== undefined) return this.#resolved("miss", near);
    return await this.fetch(remote, { kind: "digest", digest });
  }

  /** As #fromSibling; undefined also where the repository is not known to have it. */
  async #fromSiblingIfLinked(
    remote: RemoteRepository,
    digest: Digest,
    asked: Set<string>,
    isAvailable?: boolean,
  ): Promise<FetchedManifest | undefined> {
    if (this.#sharing.siblings === undefined || !(await this.#access.linked(remote, digest)))
      return undefined;
    return await this.#fromSibling(remote, digest, asked, isAvailable);
  }

  /**
   * Undefined when no sibling has it that is not among `asked`, or what it sends is not to be used. The right to it is proved.
   * `isAvailable`: upstream can be asked instead.
   */
  async #fromSibling(
    remote: RemoteRepository,
    digest: Digest,
    asked: Set<string> = new Set(),
    isAvailable = remote.registry.available,
  ): Promise<FetchedManifest | undefined> {
    const { siblings } = this.#sharing;
    if (siblings === undefined || this.#local.purged.hasJust(digest)) return undefined;
    for (const name of siblings.toAsk(remote.upstream, isAvailable)) {
      if (asked.has(name)) continue;
      asked.add(name);
      const answer = await siblings.manifest(name, remote, digest);
      if (answer === "failed" && isAvailable) return undefined;
      if (answer === undefined || answer === "failed") continue;
      try {
        const source = `sibling:${name}` as const;
        const fetched = await this.#fetch(remote, { kind: "digest", digest }, async () => answer, source);
        if (fetched.kind !== "found") return undefined;
        siblings.hit(name);
        // Whatever it says of its age is said of itself.
        const { age: _age, cacheStatus: _status, relayed: _relayed, ...manifest } = fetched;
        return manifest;
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error;
        siblings.wrong(name, error.message);
      }
    }
    return undefined;
  }

  /**
   * As `fetch`, by digest, of another node that can serve it to the repository without upstream, else of a sibling that is not among
   * `asked`, once for all that ask at the same time. Undefined when none does, or what it sends is not to be used.
   */
  fromNode(
    remote: RemoteRepository,
    digest: Digest,
    asked: Set<string> = new Set(),
  ): Promise<Resolution | undefined> {
    return this.#fromNodes.run(keyIn(remote, digest), async () => {
      const ofNode = await this.#fromNode(remote, digest);
      if (ofNode !== undefined) return ofNode;
      const near = await this.#fromSiblingIfLinked(remote, digest, asked, false);
      return near && this.#resolved("miss", near);
    }).promise;
  }

  async #fromNode(remote: RemoteRepository, digest: Digest): Promise<Resolution | undefined> {
    const { peers, holders } = this.#sharing;
    // Another node may not have heard of the purge yet.
    const address = this.#local.purged.hasJust(digest)
      ? undefined
      : await holders?.find(remote, digest, "manifest");
    if (peers === undefined || address === undefined) return undefined;
    try {
      const ask = () => peers.manifest(address, remote, digest);
      const fetched = await this.#fetch(remote, { kind: "digest", digest }, ask);
      return fetched.kind === "found" ? this.#resolved("miss", fetched) : undefined;
    } catch {
      // Upstream's failure is what the client is told.
      return undefined;
    }
  }

  /**
   * A record is as old here as it was at the mirror that answered, so that the ages of a chain do not add up: `heard` seconds, when
   * another answer than that of the manifest said it.
   */
  #resolved(how: Resolved["how"], found: Omit<FetchedManifest, "kind">, heard?: number): Resolved {
    const { digest, manifest, age = 0, cacheStatus, relayed } = found;
    const { mediaType, body } = manifest;
    const checkedAt = this.#clock() - (heard ?? age) * 1000;
    const record = { digest, mediaType, size: body.length, checkedAt };
    return { kind: "found", how, manifest, record, cacheStatus, relayed };
  }

  async #fetch(
    remote: RemoteRepository,
    reference: Reference,
    ask: () => Promise<ManifestAnswer>,
    source: Source = `upstream:${remote.upstream}`,
  ): Promise<FetchedManifest | OversizeManifest | UncachedManifest | Refusal> {
    const asOf = this.#local.purged.count;
    const answer = await ask();
    if (isRefusal(answer)) return answer;
    const wanted = reference.kind === "digest" ? reference.digest : answer.digest;
    if (answer.kind === "oversize") return oversize(answer, wanted);
    const { body } = answer;
    const { digest, ofPayload } = digestOf(body, wanted);
    const manifest = readManifest(body, answer.mediaType);
    if (manifest === "too_many")
      return { kind: "uncached", digest, mediaType: answer.mediaType ?? mediaTypes.octetStream, body };
    if (typeof manifest === "string") {
      throw new UpstreamError("protocol", `upstream's manifest ${digest} cannot be used: ${manifest}`);
    }
    const { mediaType } = manifest;
    if (ofPayload) return { kind: "uncached", digest, mediaType, body };
    // It was purged while upstream was asked: who has asked gets it, and nobody else.
    if (!(await this.#local.putManifest(digest, body, manifest, asOf)))
      return { kind: "uncached", digest, mediaType, body };
    void this.#shared?.publisher.publish(digest, body.length, mediaType);
    await this.#link(remote, digest, body.length, manifest.blobs);
    const here: LocalManifest = { body, mediaType, source };
    const { age, cacheStatus, relayed } = answer;
    return {
      kind: "found",
      digest,
      manifest: here,
      ...(age === undefined ? {} : { age }),
      ...(cacheStatus === undefined ? {} : { cacheStatus }),
      ...(relayed === undefined ? {} : { relayed }),
    };
  }

  /** Upstream showed in this repository a manifest that came here through another: its parts are readable here too. */
  async link(scope: Scope, digest: Digest, { body, mediaType }: LocalManifest): Promise<void> {
    const manifest = readManifest(body, mediaType);
    const blobs = typeof manifest === "string" ? [] : manifest.blobs;
    await this.#link(scope, digest, body.length, blobs);
  }

  /** The manifests an index names are not linked: the right to them is proved when they are first asked for. */
  async #link(scope: Scope, digest: Digest, size: number, blobs: readonly Descriptor[]): Promise<void> {
    const named = blobs.map((blob) => ({ digest: blob.digest, size: blob.size, named: true }) as const);
    await this.#access.link(scope, [{ digest, size }, ...named]);
  }
}

function hashOf(bytes: Buffer, as: Digest | undefined): Digest {
  const algorithm = as === undefined ? "sha256" : digestAlgorithm(as);
  return makeDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
}

/**
 * The digest of `body`, which is `wanted` when that is known. The digest of a signed schema 1 manifest is that of its
 * payload: the store could neither find nor verify its bytes by it. Throws UpstreamError digest_mismatch.
 */
function digestOf(
  body: Buffer,
  wanted: Digest | undefined,
): { readonly digest: Digest; readonly ofPayload: boolean } {
  const own = hashOf(body, wanted);
  if (own === wanted) return { digest: own, ofPayload: false };
  const payload = signedPayload(body);
  const signed = payload && hashOf(payload, wanted);
  if (signed !== undefined && signed === (wanted ?? signed)) return { digest: signed, ofPayload: true };
  if (wanted === undefined) return { digest: own, ofPayload: false };
  throw new UpstreamError("digest_mismatch", `upstream sent a manifest with digest ${own} for ${wanted}`);
}

/** Refused without a digest, since nothing could be verified on the way: throws UpstreamError too_large. */
function oversize(answer: OversizeAnswer, digest: Digest | undefined): OversizeManifest {
  const { mediaType } = answer;
  if (digest !== undefined) return { ...answer, digest, mediaType: mediaType ?? mediaTypes.octetStream };
  answer.discard();
  throw new UpstreamError("too_large", "upstream's manifest is above 4 MiB and names no digest");
}
