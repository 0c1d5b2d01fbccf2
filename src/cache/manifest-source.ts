// Manifests from upstream: verified, read, stored and linked before anybody sees them.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, makeDigest } from "../oci/digest.ts";
import { type Descriptor, largestManifest, readManifest, signedPayload } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { SharedBlobs } from "../ports/shared.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { type Upstream, UpstreamError } from "../ports/upstream.ts";
import { type CacheMarks, isRefusal, type OversizeAnswer, type Refusal } from "../ports/upstream-answer.ts";
import type { Access } from "./access.ts";
import type { Sharing } from "./fill/source.ts";
import type { LocalBlobs, LocalManifest } from "./local-blobs.ts";

export interface FetchedManifest extends CacheMarks {
  readonly kind: "found";
  readonly digest: Digest;
  readonly manifest: LocalManifest;
}

/** A manifest above 4 MiB, which has not been read. */
export interface OversizeManifest extends OversizeAnswer {
  readonly digest: Digest;
  readonly mediaType: string;
}

/** One that is verified, and that the cache cannot keep: it goes to whoever asked. */
export interface UncachedManifest {
  readonly kind: "uncached";
  readonly digest: Digest;
  readonly mediaType: string;
  readonly body: Buffer;
}

export class ManifestSource {
  readonly #local: LocalBlobs;
  readonly #access: Access;
  readonly #shared: Sharing["blobs"];
  readonly #looks = new SingleFlight<LocalManifest | undefined>();

  /** `shared` is the store of all nodes, when there is one. */
  constructor(local: LocalBlobs, access: Access, shared: Sharing["blobs"]) {
    this.#local = local;
    this.#access = access;
    this.#shared = shared;
  }

  /** From this node, else from the shared store, whose bytes are verified and kept here. */
  async stored(digest: Digest): Promise<LocalManifest | undefined> {
    const here = await this.#local.manifest(digest);
    if (here !== undefined || this.#shared === undefined) return here;
    const { store } = this.#shared;
    return this.#looks.run(digest, () => this.#fromShared(store, digest)).promise;
  }

  /** Undefined also for what is no manifest, and when the store fails, which it reports itself. */
  async #fromShared(store: SharedBlobs, digest: Digest): Promise<LocalManifest | undefined> {
    const over = new AbortController();
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
      const { mediaType, children } = manifest;
      await this.#local.putManifest(digest, { body, mediaType }, children);
      return { body, mediaType, source: store.source };
    } catch (error) {
      if (error instanceof UpstreamError) await store.delete(digest).catch(() => {});
      return undefined;
    } finally {
      over.abort();
    }
  }

  /** Rejects with UpstreamError, also for a body that is not what was asked for or that nobody should serve. */
  async fetch(
    upstream: Upstream,
    repository: Repository,
    reference: Reference,
  ): Promise<FetchedManifest | OversizeManifest | UncachedManifest | Refusal> {
    const answer = await upstream.getManifest(repository, reference);
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
    const { mediaType, children } = manifest;
    if (ofPayload) return { kind: "uncached", digest, mediaType, body };
    await this.#local.putManifest(digest, { body, mediaType }, children);
    void this.#shared?.publisher.publish(digest, body.length, mediaType);
    await this.#link(upstream, repository, digest, body.length, manifest.blobs);
    const here: LocalManifest = { body, mediaType, source: `upstream:${upstream.name}` };
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

  /** Upstream showed this repository a manifest that another one had brought here: so are its parts readable. */
  async link(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    { body, mediaType }: LocalManifest,
  ): Promise<void> {
    const manifest = readManifest(body, mediaType);
    const blobs = typeof manifest === "string" ? [] : manifest.blobs;
    await this.#link(upstream, repository, digest, body.length, blobs);
  }

  /** Not the manifests an index names: their right is proved when they are first asked for. */
  async #link(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    size: number,
    blobs: readonly Descriptor[],
  ): Promise<void> {
    const named = blobs.map((blob) => ({ digest: blob.digest, size: blob.size, named: true }) as const);
    await this.#access.link(upstream, repository, [{ digest, size }, ...named]);
  }
}

function hashOf(bytes: Buffer, as: Digest | undefined): Digest {
  const algorithm = as === undefined ? "sha256" : digestAlgorithm(as);
  return makeDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
}

/**
 * The digest of `body`, which is `wanted` when that is known. That of a signed schema 1 manifest is its payload's: the
 * store could neither find nor verify its bytes by it.
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

/** Without a digest nothing could be verified on the way, so it is refused. */
function oversize(answer: OversizeAnswer, digest: Digest | undefined): OversizeManifest {
  const { mediaType } = answer;
  if (digest !== undefined) return { ...answer, digest, mediaType: mediaType ?? mediaTypes.octetStream };
  answer.discard();
  throw new UpstreamError("too_large", "upstream's manifest is above 4 MiB and names no digest");
}
