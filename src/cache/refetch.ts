// Fetches again what had to be taken out of the store although clients want it, before the next client has to wait for it.
import type { Digest } from "../oci/digest.ts";
import type { Scope } from "../ports/scope.ts";
import { type RemoteRepository, remoteRepository, type Upstream } from "../ports/upstream.ts";
import type { BlobCache } from "./blob-cache.ts";
import type { Manifests } from "./manifests.ts";

/** Blobs that wait; one beyond them is fetched when a client asks for it. */
const longestQueue = 1_000;
/** Repositories tried for one blob: upstream may no longer have it in one that is linked to it. */
const maxTries = 3;

export interface RefetchOptions {
  readonly blobs: Pick<BlobCache, "open">;
  readonly manifests: Pick<Manifests, "open">;
  /** Those of now. */
  readonly upstreams: () => readonly Upstream[];
  /** Repositories known to contain the digest, at most `limit`. Throws StoreError. */
  readonly repositoriesOf: (digest: Digest, limit: number) => readonly Scope[];
}

export class Refetch {
  readonly #options: RefetchOptions;
  /** Media types by digest, in order; undefined for blobs. */
  readonly #waiting = new Map<Digest, string | undefined>();
  #working = false;

  constructor(options: RefetchOptions) {
    this.#options = options;
  }

  /** One at a time, in order. What fails sends its own notices, and the next client that asks tries again. */
  add(digest: Digest, mediaType: string | undefined): void {
    if (this.#waiting.size >= longestQueue) return;
    this.#waiting.set(digest, mediaType);
    if (!this.#working) void this.#work();
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (const [digest, mediaType] of this.#waiting) {
      this.#waiting.delete(digest);
      await this.#fetch(digest, mediaType).catch(() => {});
    }
    this.#working = false;
  }

  async #fetch(digest: Digest, mediaType: string | undefined): Promise<void> {
    const { upstreams, repositoriesOf } = this.#options;
    for (const { upstream: name, repository } of repositoriesOf(digest, maxTries)) {
      const upstream = upstreams().find((each) => each.name === name);
      if (upstream === undefined) continue;
      const remote = remoteRepository(upstream, repository);
      const fetched =
        mediaType === undefined
          ? await this.#blob(remote, digest)
          : (await this.#options.manifests.open(remote, { kind: "digest", digest })).kind === "found";
      if (fetched) return;
    }
  }

  /** Follows the download to its end without reading the bytes. */
  async #blob(remote: RemoteRepository, digest: Digest): Promise<boolean> {
    const opened = await this.#options.blobs.open(remote, digest);
    if (opened.kind !== "found") return opened.kind === "elsewhere";
    try {
      await opened.reader.arrived?.(opened.size ?? Number.MAX_SAFE_INTEGER);
      return true;
    } finally {
      await opened.reader.close();
    }
  }
}
