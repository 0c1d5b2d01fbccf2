// Where a fill takes its bytes from: the store all nodes share, the node that is fetching the blob for all of them,
// else upstream. Each of the first two may fail at any byte; the fill then asks again from the offset it reached, and
// is given the next place.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import { type Clock, type Pause, recordAge, type Yielding } from "../../ports/clock.ts";
import type { Source } from "../../ports/event.ts";
import type { Lease, Leases, Nodes, Peers, SharedBlobs } from "../../ports/shared.ts";
import { type BlobAsk, type Upstream, UpstreamError } from "../../ports/upstream.ts";
import type { BlobAnswer, Refusal } from "../../ports/upstream-answer.ts";
import type { Access } from "../access.ts";
import { openSegmented, type Segmenting } from "../segments/segmented-body.ts";
import type { Publisher } from "../sharing/publisher.ts";
import type { Releases } from "../sharing/releases.ts";
import { type Fill, NearbyMismatch } from "./fill.ts";

/**
 * How often a fill looks whether another node, which has the lease and cannot be read from, is done, and the most
 * milliseconds between two looks. Then it asks upstream itself.
 */
const looks = 10;
const betweenLooks = 500;
/**
 * What is near is read from because it is fast. Milliseconds waited for it, and the bytes per second that have to come in
 * that time; when they do not, the fill goes on from its byte elsewhere, once, while upstream answers.
 */
const slowAfter = 10_000;
const floorRate = 64 * 1024;
/** A shared blob untouched for this long is marked as used when it is read, so that eviction by age spares it. */
const refreshAfter = 24 * 3600_000;

/** What this node shares with others; each part may be missing. */
export interface Sharing {
  readonly blobs?:
    | {
        readonly store: SharedBlobs;
        readonly publisher: Publisher;
        /** Clients fetch blobs of at least `above` bytes from there themselves, by an address made for them. */
        readonly redirect?:
          | { readonly above: number; readonly presign: (digest: Digest) => Promise<URL> }
          | undefined;
      }
    | undefined;
  readonly leases?: Leases | undefined;
  readonly peers?: Peers | undefined;
  readonly nodes?: Nodes | undefined;
  readonly releases?: Releases | undefined;
}

/** Blobs whose bytes proved wrong in one place nearby, remembered at most. */
const maxDistrusted = 10_000;

/** By place and digest. Bytes that were wrong there may stay, where this node may not delete. */
export type Distrusted = Pick<LRUCache<string, true>, "has" | "set">;

export function createDistrusted(): Distrusted {
  return new LRUCache({ max: maxDistrusted });
}

export interface FillSourceOptions {
  readonly upstream: Upstream;
  readonly repository: Repository;
  readonly digest: Digest;
  readonly access: Access;
  readonly sharing: Sharing;
  /** Of all fills. */
  readonly distrusted: Distrusted;
  readonly segmenting: Segmenting;
  readonly clock: Clock;
  readonly pause: Pause;
}

export class FillSource {
  readonly #options: FillSourceOptions;
  #place: "shared" | "peer" | "upstream" = "upstream";
  #lease: Lease | undefined;
  /** Where bytes of the fill have come from, peers by their address. */
  readonly #places = new Set<string>();
  #sharedFailed = false;
  readonly #failedPeers = new Set<string>();
  /** The place of the bytes proved slow: the next one may take its time. */
  #moved = false;

  constructor(options: FillSourceOptions) {
    this.#options = options;
  }

  /** Where the bytes of the last answer come from. */
  get source(): Source {
    const { sharing, upstream } = this.#options;
    return this.#place === "shared" && sharing.blobs !== undefined
      ? sharing.blobs.store.source
      : `upstream:${upstream.name}`;
  }

  /** What a client got who is answered from the fill, and would have missed or joined if it asked upstream. */
  result(how: "miss" | "joined"): "hit" | "miss" | "joined" {
    if (this.#place === "shared") return "hit";
    return this.#place === "peer" ? "joined" : how;
  }

  /** Whether every byte so far has come from upstream itself. */
  get onlyUpstream(): boolean {
    return this.#places.size === 1 && this.#places.has("upstream");
  }

  /** An earlier fill has had the first bytes from upstream. */
  resumed(): void {
    this.#places.add("upstream");
  }

  /**
   * The bytes from `from` on. `use` is for upstream: nobody waits for them. Rejects with UpstreamError when upstream
   * has to answer and cannot, or with the signal's reason.
   */
  async open(
    from: number,
    signal: AbortSignal,
    use: "background" | undefined,
    yields: Yielding,
  ): Promise<BlobAnswer> {
    const near = (await this.#shared(from, signal)) ?? (await this.#turn(from, signal));
    if (near !== undefined) return near;
    signal.throwIfAborted();
    this.#place = "upstream";
    this.#places.add("upstream");
    const { upstream, repository, digest, segmenting } = this.#options;
    const open = (at: number, over: AbortSignal, ask: BlobAsk) =>
      upstream.openBlob(repository, digest, at, over, { ...ask, yields });
    return use === undefined
      ? await openSegmented({ upstream, open, segmenting }, from, signal)
      : await open(from, signal, { use, yields });
  }

  /**
   * The digest is wrong: what came from nearby is not read from there again for this blob. Names the places, undefined
   * when every byte came from upstream: only then it is upstream's fault.
   */
  distrust(): string | undefined {
    const { distrusted, digest } = this.#options;
    const places = [...this.#places].filter((place) => place !== "upstream");
    for (const place of places) distrusted.set(`${place} ${digest}`, true);
    return places.length === 0 ? undefined : places.join(" and ");
  }

  /**
   * The fill is over: what came from upstream is given to the others, then the lease. A blob whose shared bytes
   * proved wrong is removed there.
   */
  async end(fill: Fill): Promise<void> {
    const { digest, sharing } = this.#options;
    const { blobs } = sharing;
    const fromShared = this.#places.has("shared");
    try {
      if (fromShared && this.#places.size === 1 && fill.failure instanceof NearbyMismatch)
        await blobs?.store.delete(digest).catch(() => {});
      else if (fill.stored && this.#place === "upstream" && !fromShared)
        await blobs?.publisher.publish(digest, fill.received, undefined);
    } finally {
      await this.#lease?.release();
    }
  }

  // ---- the shared store ---------------------------------------------------------------------------------------

  /** Undefined when the blob is not there or the store fails, which it reports itself. */
  async #shared(from: number, signal: AbortSignal): Promise<BlobAnswer | undefined> {
    const store = this.#options.sharing.blobs?.store;
    const { digest, distrusted } = this.#options;
    if (store === undefined || this.#sharedFailed || distrusted.has(`shared ${digest}`)) return undefined;
    try {
      const refusal = await this.#refusal(store);
      if (refusal !== undefined) return refusal;
      const found = await store.open(digest, from, signal);
      if (found === undefined) return undefined;
      if (recordAge(found.modifiedAt, this.#options.clock()) > refreshAfter)
        store.refresh(digest).catch(() => {});
      this.#place = "shared";
      this.#places.add("shared");
      const body = this.#guarded(found.body, signal, () => {
        this.#sharedFailed = true;
      });
      return { kind: "found", size: found.size, offset: from, body };
    } catch (error) {
      if (error instanceof UpstreamError || signal.aborted) throw error;
      this.#sharedFailed = true;
      return undefined;
    }
  }

  /** The shared store grants nothing: without a link upstream has to say that this repository may read the blob. */
  async #refusal(store: SharedBlobs): Promise<Refusal | undefined> {
    const { access, upstream, repository, digest } = this.#options;
    if (await access.linked(upstream, repository, digest)) return undefined;
    if ((await store.head(digest)) === undefined) return undefined;
    const proof = await access.prove(upstream, repository, digest, "blob");
    return proof.kind === "absent" || proof.kind === "denied" ? proof : undefined;
  }

  // ---- other nodes --------------------------------------------------------------------------------------------

  /**
   * The bytes another node has or is fetching; undefined when it is this node's turn to ask upstream. Where the holder of
   * the lease cannot be read from, or not fast enough, one node asks upstream for all the others once more.
   */
  async #turn(from: number, signal: AbortSignal): Promise<BlobAnswer | undefined> {
    const { upstream, digest, sharing } = this.#options;
    const { leases, blobs, peers } = sharing;
    if (leases === undefined || this.#lease !== undefined) return undefined;
    // Two registries may be asked at once for one blob: nodes need not know the same ones.
    const key = `blob:${upstream.name}/${digest}`;
    for (let look = 1; look <= looks; look++) {
      // Without an answer everybody works for himself; one that was merely late is worth a second question.
      const turn = await leases
        .acquire(key)
        .catch(() => leases.acquire(key))
        .catch(() => undefined);
      if (turn === undefined) return undefined;
      if ("lease" in turn) {
        this.#lease = turn.lease;
        // Whoever had it before may have stored the blob since we looked.
        return await this.#shared(from, signal);
      }
      const running = await this.#peer(turn.heldBy, from, signal);
      if (running !== undefined) return running;
      if (this.#moved) break;
      // What the other node fetches will be in its own store only.
      if (blobs === undefined && (peers === undefined || turn.heldBy === undefined)) return undefined;
      await this.#wait(key, signal);
      const stored = await this.#shared(from, signal);
      if (stored !== undefined) return stored;
    }
    return await this.#secondTurn(leases, `${key} again`, from, signal);
  }

  async #secondTurn(
    leases: Leases,
    key: string,
    from: number,
    signal: AbortSignal,
  ): Promise<BlobAnswer | undefined> {
    const turn = await leases.acquire(key).catch(() => undefined);
    if (turn === undefined) return undefined;
    if (!("lease" in turn)) return await this.#peer(turn.heldBy, from, signal);
    this.#lease = turn.lease;
    return undefined;
  }

  async #peer(
    address: string | undefined,
    from: number,
    signal: AbortSignal,
  ): Promise<BlobAnswer | undefined> {
    const { sharing, upstream, repository, digest, distrusted } = this.#options;
    if (address === undefined || sharing.peers === undefined || this.#failedPeers.has(address))
      return undefined;
    if (distrusted.has(`${address} ${digest}`)) return undefined;
    const failed = (): void => void this.#failedPeers.add(address);
    try {
      const answer = await sharing.peers.open(address, upstream.name, repository, digest, from, signal);
      if (answer.kind !== "found") return undefined;
      this.#place = "peer";
      this.#places.add(address);
      return { ...answer, body: this.#guarded(answer.body, signal, failed) };
    } catch (error) {
      if (signal.aborted) throw error;
      failed();
      return undefined;
    }
  }

  async #wait(key: string, signal: AbortSignal): Promise<void> {
    const { sharing, pause } = this.#options;
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    try {
      const step = pause(betweenLooks, either);
      await Promise.race([step, sharing.releases?.released(key, either) ?? step]);
    } finally {
      over.abort();
    }
  }

  /** A place that fails in the middle, or is too slow, is a broken transfer, which goes on elsewhere. */
  async *#guarded(
    body: AsyncIterable<Buffer>,
    signal: AbortSignal,
    failed: () => void,
  ): AsyncGenerator<Buffer> {
    const { clock, upstream } = this.#options;
    let [waited, bytes, asked] = [0, 0, clock()];
    try {
      for await (const chunk of body) {
        waited += clock() - asked;
        bytes += chunk.length;
        yield chunk;
        if (waited >= slowAfter) {
          if (!this.#moved && upstream.available && bytes < (waited / 1000) * floorRate) {
            this.#moved = true;
            throw new Error(`${bytes} bytes in ${waited} ms`);
          }
          [waited, bytes] = [0, 0];
        }
        asked = clock();
      }
    } catch (error) {
      if (signal.aborted) throw error;
      failed();
      const text = error instanceof Error ? error.message : String(error);
      throw new UpstreamError("truncated", `the blob broke off nearby: ${text}`, { cause: error });
    }
  }
}
