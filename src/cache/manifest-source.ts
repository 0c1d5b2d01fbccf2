// Manifests from upstream: verified, read, stored and linked before anybody sees them.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, makeDigest } from "../oci/digest.ts";
import { type Descriptor, largestManifest, readManifest } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { Access } from "./access.ts";
import type { Sharing } from "./fill-source.ts";
import type { LocalBlobs, LocalManifest } from "./local-blobs.ts";
import { type Upstream, UpstreamError } from "./ports.ts";
import type { SharedBlobs } from "./shared-ports.ts";
import { SingleFlight } from "./single-flight.ts";
import type { CacheMarks, ManifestAnswer, Refusal } from "./upstream-answer.ts";

export interface FetchedManifest extends CacheMarks {
  readonly kind: "found";
  readonly digest: Digest;
  readonly manifest: LocalManifest;
}

/** A manifest above 4 MiB, which has not been read. */
export interface OversizeManifest {
  readonly kind: "oversize";
  readonly digest: Digest;
  readonly mediaType: string;
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
      verified(body, digest);
      const manifest = readManifest(body, found.mediaType);
      if (typeof manifest === "string") return undefined;
      const { mediaType, children } = manifest;
      await this.#local.putManifest(digest, { body, mediaType }, digestsOf(children));
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
  ): Promise<FetchedManifest | OversizeManifest | Refusal> {
    const answer = await upstream.getManifest(repository, reference);
    if (answer.kind === "absent" || answer.kind === "denied") return answer;
    const wanted = reference.kind === "digest" ? reference.digest : answer.digest;
    if (answer.kind === "oversize") return oversize(answer, wanted);
    const { body } = answer;
    const digest = verified(body, wanted);
    const manifest = readManifest(body, answer.mediaType);
    if (typeof manifest === "string") {
      throw new UpstreamError("protocol", `upstream's manifest ${digest} cannot be used: ${manifest}`);
    }
    const { mediaType, children } = manifest;
    await this.#local.putManifest(digest, { body, mediaType }, digestsOf(children));
    void this.#shared?.publisher.publish(digest, body.length, mediaType);
    await this.#link(upstream, repository, digest, body.length, children);
    const here: LocalManifest = { body, mediaType, source: `upstream:${upstream.name}` };
    const { age, cacheStatus } = answer;
    return {
      kind: "found",
      digest,
      manifest: here,
      ...(age === undefined ? {} : { age }),
      ...(cacheStatus === undefined ? {} : { cacheStatus }),
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
    const children = typeof manifest === "string" ? [] : manifest.children;
    await this.#link(upstream, repository, digest, body.length, children);
  }

  /**
   * Blobs only: registries look for them when a manifest is pushed, but many take an index of manifests they do not
   * have, and naming one must not make it readable. Its right is proved when it is first asked for.
   */
  async #link(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    size: number,
    children: readonly Descriptor[],
  ): Promise<void> {
    const blobs = children.filter(({ kind }) => kind === "blob");
    await this.#access.link(upstream, repository, [{ digest, size }, ...blobs]);
  }
}

function digestsOf(children: readonly Descriptor[]): Digest[] {
  return children.map((child) => child.digest);
}

/** The digest of `body`, which is `wanted` when that is known. */
function verified(body: Buffer, wanted: Digest | undefined): Digest {
  const algorithm = wanted === undefined ? "sha256" : digestAlgorithm(wanted);
  const digest = makeDigest(algorithm, createHash(algorithm).update(body).digest("hex"));
  if (wanted === undefined || wanted === digest) return digest;
  throw new UpstreamError("digest_mismatch", `upstream sent a manifest with digest ${digest} for ${wanted}`);
}

/** Without a digest nothing could be verified on the way, so it is refused. */
function oversize(
  { mediaType }: Extract<ManifestAnswer, { kind: "oversize" }>,
  digest: Digest | undefined,
): OversizeManifest {
  if (digest === undefined)
    throw new UpstreamError("too_large", "upstream's manifest is above 4 MiB and names no digest");
  return { kind: "oversize", digest, mediaType: mediaType ?? mediaTypes.octetStream };
}
