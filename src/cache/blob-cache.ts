// Blobs: look here first, then start or join a fill. One upstream transfer per digest, however many clients ask
// and whichever repositories they name; every client's right is proved for its own repository.
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { NoticeSink, Source } from "../telemetry/event.ts";
import type { Access } from "./access.ts";
import { Fill, type FillOptions } from "./fill.ts";
import type { LocalBlob, LocalBlobs } from "./local-blobs.ts";
import type { NegativeAnswers } from "./negative-answers.ts";
import type { BlobReader, Clock, Pause, Refusal, Upstream } from "./ports.ts";
import { WindowBudget } from "./window.ts";

/**
 * How often a request looks for the blob or a fill of it: the fill it wanted to join may have ended, or been refused
 * to another repository. After that it relies on nobody else.
 */
const maxLooks = 3;

export interface BlobCacheOptions {
  readonly local: LocalBlobs;
  readonly access: Access;
  readonly negative: NegativeAnswers;
  /** Bytes of running fills kept in memory, over all fills. */
  readonly windowBytes: number;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

export interface OpenedBlob {
  readonly kind: "found";
  readonly result: "hit" | "miss" | "joined";
  readonly source: Source;
  /** Bytes of the whole blob; undefined while upstream sends without a length. */
  readonly size: number | undefined;
  /** Cache-Status of upstream's answer, when it was asked for this request. */
  readonly cacheStatus?: string;
  /** To be closed by whoever opened it. */
  readonly reader: BlobReader;
}

export type BlobFound = Omit<OpenedBlob, "reader">;

/** A fill and for whom it asks upstream. */
interface Filling {
  readonly fill: Fill;
  readonly upstream: Upstream;
  readonly repository: Repository;
}

export class BlobCache {
  readonly #options: BlobCacheOptions;
  /** The fill a client of this digest joins. */
  readonly #fills = new Map<Digest, Filling>();
  /** Every fill under way, also those nobody may join any more. */
  readonly #running = new Set<Fill>();
  readonly #budget: WindowBudget;

  constructor(options: BlobCacheOptions) {
    this.#options = options;
    this.#budget = new WindowBudget(options.windowBytes);
  }

  /**
   * Opens the blob for a client of `repository`. Rejects with UpstreamError when upstream has to answer and
   * cannot.
   */
  async open(upstream: Upstream, repository: Repository, digest: Digest): Promise<OpenedBlob | Refusal> {
    const { negative } = this.#options;
    if (negative.has(upstream.name, repository, "blob", digest)) return { kind: "absent", negative: true };
    const opened = await this.#open(upstream, repository, digest);
    if (opened.kind === "absent") negative.add(upstream.name, repository, "blob", digest);
    return opened;
  }

  async #open(upstream: Upstream, repository: Repository, digest: Digest): Promise<OpenedBlob | Refusal> {
    for (let look = 1; look <= maxLooks; look++) {
      const opened = await this.#find(upstream, repository, digest);
      if (opened !== "again") return opened;
    }
    const filling = this.#joinable(digest);
    return filling !== undefined && isFor(filling, upstream, repository)
      ? this.#follow(filling.upstream, filling.fill, "joined")
      : this.#start(upstream, repository, digest);
  }

  /** As `open`, for HEAD: never starts a download. */
  async head(upstream: Upstream, repository: Repository, digest: Digest): Promise<BlobFound | Refusal> {
    const { access, local, negative } = this.#options;
    if (negative.has(upstream.name, repository, "blob", digest)) return { kind: "absent", negative: true };
    const proof = await access.prove(upstream, repository, digest, "blob");
    if (proof.kind === "absent") negative.add(upstream.name, repository, "blob", digest);
    if (proof.kind === "absent" || proof.kind === "denied") return proof;
    const filling = this.#fills.get(digest);
    const size = filling?.fill.size;
    if (filling !== undefined && size !== undefined)
      return { ...fromUpstream(filling.upstream, { size }), result: "joined" };
    const here = await local.open(digest);
    if (here !== undefined) {
      await here.reader.close();
      return { kind: "found", result: "hit", source: here.source, size: here.size };
    }
    const head = proof.kind === "found" ? proof : await upstream.headBlob(repository, digest);
    if (head.kind === "absent") await access.unlink(upstream, repository, digest);
    return head.kind === "found" ? { ...fromUpstream(upstream, head), result: "miss" } : head;
  }

  /** Finds the blob here or on its way, else starts a fill. "again" when what was found has gone meanwhile. */
  async #find(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
  ): Promise<OpenedBlob | Refusal | "again"> {
    const { access, local } = this.#options;
    const linked = await access.linked(upstream, repository, digest);
    const here = this.#joinable(digest) === undefined ? await local.open(digest) : undefined;
    if (here === undefined && this.#joinable(digest) === undefined) {
      // A fill that ran from start to end while the store was looked at has left its row behind.
      return local.indexed(digest) ? "again" : this.#start(upstream, repository, digest);
    }
    const running = here === undefined ? this.#joinable(digest) : undefined;
    // Upstream's answer to a fill for this very repository is the proof, and it is waited for anyway.
    const proving = running !== undefined && isFor(running, upstream, repository);
    if (!linked && !proving) {
      const refusal = await this.#prove(upstream, repository, digest, here);
      if (refusal !== undefined) return refusal;
    }
    if (here !== undefined) return { kind: "found", result: "hit", ...here };
    const filling = this.#joinable(digest);
    if (filling === undefined) return "again";
    const opened = await this.#follow(filling.upstream, filling.fill, "joined");
    // A fill refused to another repository: this one may fare better.
    return opened.kind === "found" || isFor(filling, upstream, repository) ? opened : "again";
  }

  /** Undefined when upstream confirms the right; the opened blob is closed on every other way out. */
  async #prove(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    here: LocalBlob | undefined,
  ): Promise<Refusal | undefined> {
    let granted = false;
    try {
      const proof = await this.#options.access.prove(upstream, repository, digest, "blob");
      if (proof.kind === "absent" || proof.kind === "denied") return proof;
      granted = true;
      return undefined;
    } finally {
      if (!granted) await here?.reader.close();
    }
  }

  // ---- fills --------------------------------------------------------------------------------------------------

  #joinable(digest: Digest): Filling | undefined {
    const filling = this.#fills.get(digest);
    return filling?.fill.joinable === true ? filling : undefined;
  }

  /** Upstream's answer to the download proves the right of this repository. */
  async #start(upstream: Upstream, repository: Repository, digest: Digest): Promise<OpenedBlob | Refusal> {
    const { local, access } = this.#options;
    const fill = this.#run(upstream, digest, {
      open: (from, signal) => upstream.openBlob(repository, digest, from, signal),
      spool: (size) => local.spool(size),
    });
    const filling = { fill, upstream, repository };
    this.#fills.set(digest, filling);
    void fill.done.then(() => {
      if (this.#fills.get(digest) === filling) this.#fills.delete(digest);
    });
    const opened = await this.#follow(upstream, fill, "miss");
    if (opened.kind === "found") await access.link(upstream, repository, [{ digest, size: opened.size }]);
    if (opened.kind === "absent") await access.unlink(upstream, repository, digest);
    return opened;
  }

  /** Relays a manifest too large to hold: verified like a blob, never stored. */
  async relayManifest(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
  ): Promise<OpenedBlob | Refusal> {
    const fill = this.#run(upstream, digest, {
      open: (from, signal) => upstream.openBlob(repository, digest, from, signal, "manifests"),
      spool: async () => undefined,
    });
    return this.#follow(upstream, fill, "miss");
  }

  #run(upstream: Upstream, digest: Digest, how: Pick<FillOptions, "open" | "spool">): Fill {
    const { local, notices, clock, pause } = this.#options;
    const fill = new Fill({
      ...how,
      digest,
      upstream: upstream.name,
      committed: (size) => local.committed(digest, size, undefined),
      budget: this.#budget,
      notices,
      clock,
      pause,
    });
    this.#running.add(fill);
    void fill.done.then(() => this.#running.delete(fill));
    return fill;
  }

  /** Follows before upstream has answered, so that a fill without a spool waits for this reader. */
  async #follow(upstream: Upstream, fill: Fill, result: "miss" | "joined"): Promise<OpenedBlob | Refusal> {
    const reader = fill.follow();
    let opened = false;
    try {
      const head = await fill.head;
      if (head.kind !== "found") return head;
      opened = true;
      return { ...fromUpstream(upstream, head), result, reader };
    } finally {
      if (!opened) await reader.close();
    }
  }

  // ---- state --------------------------------------------------------------------------------------------------

  /** Running fills, for metrics and pages. */
  get fills(): readonly Fill[] {
    return [...this.#running];
  }

  /** Whether a client is reading the stored blob, or it is being filled: eviction must leave it alone. */
  inUse(digest: Digest): boolean {
    return this.#fills.has(digest) || this.#options.local.beingRead(digest);
  }

  /** Bytes running fills hold or will hold in the store. */
  get fillingBytes(): number {
    let bytes = 0;
    for (const fill of this.#running) if (fill.storing) bytes += fill.size ?? fill.received;
    return bytes;
  }

  /** Ends every fill; resolves when their spools are gone. */
  async stop(reason: Error): Promise<void> {
    const fills = this.fills;
    for (const fill of fills) fill.abort(reason);
    await Promise.all(fills.map((fill) => fill.done));
  }
}

/** Whether upstream's answer to the fill is its answer to this repository. */
function isFor(filling: Filling, upstream: Upstream, repository: Repository): boolean {
  return filling.upstream.name === upstream.name && filling.repository === repository;
}

function fromUpstream(
  upstream: Upstream,
  { size, cacheStatus }: Pick<BlobFound, "size"> & { readonly cacheStatus?: string | undefined },
): Omit<BlobFound, "result"> {
  const said = cacheStatus === undefined ? {} : { cacheStatus };
  return { kind: "found", source: `upstream:${upstream.name}`, size, ...said };
}
