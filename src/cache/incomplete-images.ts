// Images whose manifest is here and some of whose layers are not, while upstream is away. podman and CRI-O take every
// layer from where the manifest came from. If such a manifest is served, the pull fails, though the next mirror or the
// registry itself could have answered it. The configuration says whether it is served or refused.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { type Descriptor, readManifest } from "../oci/manifest.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import { keyIn, type Scope } from "../ports/scope.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import type { BlobCache } from "./blob-cache.ts";
import type { Sharing } from "./fill/source.ts";
import type { LocalManifest } from "./local-blobs.ts";
import { boundedByKeys } from "./memory-size.ts";

export type ManifestsWithoutLayers = "serve" | "refuse";

/** Parts of one manifest that are checked: container runtimes take at most 127 layers, and indexes have some dozen images. */
const maxChecked = 256;
/**
 * Milliseconds after a failed question about a tag in which a client asks for the manifests of its index. One failure does
 * not open the circuit, so it is remembered here.
 */
const failureMemory = 5_000;
/** Milliseconds in which other nodes are not asked again for what one of them had, and for what none had. */
const presenceMemory = 30_000;
const absenceMemory = 5_000;

export interface IncompleteImagesOptions {
  /** Read for every manifest. */
  readonly manifestsWithoutLayers: () => ManifestsWithoutLayers;
  readonly blobs: Pick<BlobCache, "isHere">;
  /** The other nodes, and how they are asked: what one of them has can be pulled within the datacenter. */
  readonly sharing?: Pick<Sharing, "holders"> | undefined;
  /** A manifest that can be served without upstream. */
  readonly stored: (digest: Digest) => Promise<LocalManifest | undefined>;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

export class IncompleteImages {
  readonly #blobs: IncompleteImagesOptions["blobs"];
  readonly #stored: IncompleteImagesOptions["stored"];
  readonly #sharing: IncompleteImagesOptions["sharing"];
  /** Whether another node has it. */
  readonly #elsewhere: LRUCache<string, boolean>;
  readonly #questions = new SingleFlight<boolean>();
  readonly #notices: NoticeSink;
  readonly #manifestsWithoutLayers: IncompleteImagesOptions["manifestsWithoutLayers"];
  /** Repositories a question about a tag of which has just failed. */
  readonly #failing: LRUCache<string, true>;

  constructor({ manifestsWithoutLayers, blobs, sharing, stored, notices, clock }: IncompleteImagesOptions) {
    this.#sharing = sharing;
    this.#elsewhere = new LRUCache<string, boolean>({
      ...boundedByKeys,
      ttlResolution: 0,
      perf: { now: clock },
    });
    this.#blobs = blobs;
    this.#stored = stored;
    this.#notices = notices;
    this.#manifestsWithoutLayers = manifestsWithoutLayers;
    this.#failing = new LRUCache<string, true>({
      ...boundedByKeys,
      ttl: failureMemory,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** A question about a tag of the repository has just failed. */
  failed(scope: Scope): void {
    this.#failing.set(keyIn(scope), true);
  }

  /** Upstream has answered a question about a tag of the repository. */
  answered(scope: Scope): void {
    this.#failing.delete(keyIn(scope));
  }

  /** Whether manifests are to be checked: upstream is known to be away, and the configuration says refuse. */
  watched(remote: RemoteRepository): boolean {
    if (this.#manifestsWithoutLayers() === "serve") return false;
    return !remote.registry.available || this.#failing.has(keyIn(remote));
  }

  /**
   * Rejects with UpstreamError layers_missing when a blob the manifest names is neither here, nor on its way, nor on
   * another node. An index is refused when that is so for every image in it, since podman takes the image too from where
   * the index came from. Foreign layers do not count.
   */
  async check(remote: RemoteRepository, digest: Digest, manifest: LocalManifest): Promise<void> {
    const missing = await this.#missing(remote, manifest);
    if (missing === undefined) return;
    const code = "layers_missing";
    const message = `upstream ${remote.upstream} is away, and ${missing} of ${digest} is not here`;
    // Who is cut off says nothing of upstream.
    if (remote.registry.cut === undefined)
      this.#notices({ kind: "upstream_error", upstream: remote.upstream, code, status: undefined, message });
    throw new UpstreamError(code, message);
  }

  /** The part that keeps the image, or the first one of an index, from being pulled. An index in an index is not read. */
  async #missing(scope: Scope, manifest: LocalManifest): Promise<Digest | undefined> {
    const children = childrenOf(manifest);
    const blob = await this.#missingBlob(scope, children);
    if (blob !== undefined) return blob;
    let first: Digest | undefined;
    for (const { role, digest } of children) {
      if (role !== "manifest") continue;
      const missing = await this.#missingFromImage(scope, digest);
      if (missing === undefined) return undefined;
      first ??= missing;
    }
    return first;
  }

  /** As `#missing`, of one image of an index: the image itself when its manifest is nowhere. */
  async #missingFromImage(scope: Scope, digest: Digest): Promise<Digest | undefined> {
    const image = await this.#stored(digest);
    if (image !== undefined) return await this.#missingBlob(scope, childrenOf(image));
    return (await this.#isElsewhere(scope, digest, "manifest")) ? undefined : digest;
  }

  async #missingBlob(scope: Scope, children: readonly Descriptor[]): Promise<Digest | undefined> {
    for (const { role, digest } of children) {
      if (role === "manifest" || (await this.#blobs.isHere(digest))) continue;
      if (!(await this.#isElsewhere(scope, digest, "blob"))) return digest;
    }
    return undefined;
  }

  /**
   * Whether another node can serve it. A node that has a manifest has checked what the manifest names. One that does not
   * answer counts as having nothing.
   */
  async #isElsewhere(scope: Scope, digest: Digest, as: "blob" | "manifest"): Promise<boolean> {
    const holders = this.#sharing?.holders;
    if (holders === undefined) return false;
    const key = keyIn(scope, `${as} ${digest}`);
    const known = this.#elsewhere.get(key);
    if (known !== undefined) return known;
    const ask = async (): Promise<boolean> => {
      const has = (await holders.find(scope, digest, as)) !== undefined;
      this.#elsewhere.set(key, has, { ttl: has ? presenceMemory : absenceMemory });
      return has;
    };
    return await this.#questions.run(key, ask).promise;
  }
}

function childrenOf({ body, mediaType }: LocalManifest): readonly Descriptor[] {
  const manifest = readManifest(body, mediaType);
  return typeof manifest === "string" ? [] : manifest.children.slice(0, maxChecked);
}
