// Where a fill takes its bytes from: the store all nodes share, the node that is fetching the blob for all of them, a mirror
// of another datacenter that holds it, else upstream. Each but the last may fail at any byte; the fill then asks again from
// the offset it reached, and gets the next place.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import { type Clock, type Pause, recordAge } from "../../ports/clock.ts";
import type { Source } from "../../ports/event.ts";
import type { Lease, Leases, Peers, SharedBlobs } from "../../ports/shared.ts";
import { type BlobAsk, type RemoteRepository, UpstreamError } from "../../ports/upstream.ts";
import { type BlobAnswer, isRefusal, type Refusal } from "../../ports/upstream-answer.ts";
import { type Access, Unproved } from "../access.ts";
import type { BandwidthUse } from "../bandwidth/fair-bandwidth.ts";
import { openSegmented, type Segmenting } from "../segments/segmented-body.ts";
import type { Holders } from "../sharing/holders.ts";
import type { Publisher } from "../sharing/publisher.ts";
import type { Releases } from "../sharing/releases.ts";
import type { Siblings } from "../sharing/siblings.ts";
import { type Fill, type FillAsk, NearbyMismatch } from "./fill.ts";
import { refusesRanges } from "./pieces.ts";
import { NearbyBreak } from "./transfer.ts";

/**
 * How often a fill checks whether another node, which has the lease and cannot be read from, is done, and the most
 * milliseconds between two checks. Then it asks upstream itself.
 */
const maxProbes = 10;
const probeInterval = 500;
/**
 * The shared store and other nodes are read because they are fast. When fewer than so many bytes a second come in so many
 * milliseconds of waiting, and upstream answers, the fill goes on from its byte elsewhere, once.
 */
const rateWindow = 10_000;
const minRate = 64 * 1024;
/** The same milliseconds for a sibling, which is read because it is nearer than upstream, by what it says itself (Siblings.least). */
const siblingWindow = 2_000;
/** Milliseconds of waiting after which the rate of a place is measured once more. */
const measuredAfter = 1_000;
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
  /** Finds the node to read from among the others. */
  readonly holders?: Pick<Holders, "find"> | undefined;
  readonly releases?: Releases | undefined;
  /** Mirrors of other datacenters. */
  readonly siblings?: Siblings | undefined;
}

/** Most pairs of a place and a blob that are remembered. */
const maxDistrusted = 10_000;

/**
 * Where the bytes of a blob proved wrong: in the shared store, on another node by its address, or at a sibling. They may still be
 * there, since this node may not be able to delete them.
 */
export class DistrustedPlaces {
  readonly #keys = new LRUCache<string, true>({ max: maxDistrusted });

  has(place: string, digest: Digest): boolean {
    return this.#keys.has(`${place} ${digest}`);
  }

  add(place: string, digest: Digest): void {
    this.#keys.set(`${place} ${digest}`, true);
  }
}

export interface FillSourceOptions {
  /** Of the client it begins for. */
  readonly remote: RemoteRepository;
  /** Of the clients that follow it; undefined before the first one does. */
  readonly followed: () => readonly RemoteRepository[] | undefined;
  readonly digest: Digest;
  readonly access: Access;
  readonly sharing: Sharing;
  /** Shared by all fills. */
  readonly distrusted: Pick<DistrustedPlaces, "has" | "add">;
  readonly segmenting: Segmenting;
  readonly bandwidth: BandwidthUse;
  readonly clock: Clock;
  readonly pause: Pause;
}

export class FillSource {
  readonly #options: FillSourceOptions;
  #place: "shared" | "peer" | "sibling" | "upstream" = "upstream";
  /** Of the last peer that was read from. */
  #peerAddress: string | undefined;
  #lease: Lease | undefined;
  /** Where bytes of the fill have come from, peers by their address. */
  readonly #places = new Set<string>();
  #sharedFailed = false;
  /** The other nodes were asked whether they have the blob. */
  #askedNodes = false;
  readonly #failedPeers = new Set<string>();
  /** Of the last sibling that was read from. */
  #sibling = "";
  /**
   * Upstream has been asked. From then on no sibling is, and siblings may read from the fill themselves: so none waits for a fill
   * that waits for it.
   */
  #askedUpstream = false;
  /** One place has proved slow; from then on the speed is not watched. */
  #moved = false;

  constructor(options: FillSourceOptions) {
    this.#options = options;
  }

  /**
   * By whose right upstream is asked now. Where that is a caller's own, it ends when the caller leaves: then another follower's
   * counts or, without one, that of this mirror's account, if it has one.
   */
  get #remote(): RemoteRepository {
    const { remote, followed } = this.#options;
    // Begun for a client in a drill, from nearby; an upstream is asked for another one, if there is one: its own.
    if (remote.registry.cut === "drill")
      return followed()?.find(({ registry }) => registry.cut === undefined) ?? remote;
    if (remote.registry.caller === undefined) return remote;
    const following = followed();
    if (following === undefined || (following.includes(remote) && remote.registry.caller.waits))
      return remote;
    const other = following.find(
      ({ upstream, registry }) => upstream === remote.upstream && registry.caller?.waits === true,
    );
    return other ?? { ...remote, registry: remote.registry.forCaller(undefined) };
  }

  /** Where the bytes of the last answer came from, for events. */
  get source(): Source {
    const { sharing, remote } = this.#options;
    if (this.#place === "sibling") return `sibling:${this.#sibling}`;
    if (this.#place === "shared" && sharing.blobs !== undefined) return sharing.blobs.store.source;
    return `upstream:${this.#place === "upstream" ? this.#remote.upstream : remote.upstream}`;
  }

  /** The result of a request that is answered from the fill; `how`: if the fill asks upstream. */
  result(how: "miss" | "joined"): "hit" | "miss" | "joined" {
    if (this.#place === "shared") return "hit";
    return this.#place === "peer" ? "joined" : how;
  }

  /** Whether every byte so far has come from upstream itself. */
  get onlyUpstream(): boolean {
    return this.#places.size === 1 && this.#places.has("upstream");
  }

  /** Whether what is still to come comes from upstream itself. */
  get fromUpstream(): boolean {
    return this.#askedUpstream && this.#place === "upstream";
  }

  /** The fill goes on from bytes that an earlier one had from upstream. */
  resumed(): void {
    this.#places.add("upstream");
  }

  /**
   * The bytes from `from` on. They may end where others bring the next ones (`ahead`). Rejects with UpstreamError when
   * upstream has to answer and cannot, or with the signal's reason.
   */
  async open(from: number, signal: AbortSignal, { attended, yields, ahead }: FillAsk): Promise<BlobAnswer> {
    const near =
      (await this.#shared(from, signal)) ??
      (await this.#leased(from, signal)) ??
      (await this.#fromSiblings(from, signal));
    if (near !== undefined) return near;
    signal.throwIfAborted();
    this.#askedUpstream = true;
    this.#place = "upstream";
    this.#places.add("upstream");
    const { digest, segmenting, bandwidth } = this.#options;
    const open = async (at: number, over: AbortSignal, { to, ...ask }: BlobAsk): Promise<BlobAnswer> => {
      const { registry, repository, onBehalfOf } = this.#remote;
      const pacer = bandwidth.transfer();
      const user = onBehalfOf?.user;
      try {
        return await registry.openBlob(repository, digest, at, over, { ...ask, to, yields, pacer, user });
      } catch (error) {
        if (at > 0 || to === undefined || !refusesRanges(error)) throw error;
        return await registry.openBlob(repository, digest, at, over, { ...ask, yields, pacer, user });
      }
    };
    // What is paced is not slow: more transfers would bring no more, and nothing is to be learned from it.
    if (attended && bandwidth.pace === undefined)
      return await this.#believed(
        await openSegmented({ upstream: this.#remote.registry, open, ahead, segmenting }, from, signal),
      );
    const to = ahead.partEnd(from);
    ahead.asked(to ?? from);
    return await this.#believed(await open(from, signal, { to }));
  }

  /** Without the doubt about an answer that has the very size a manifest states: no page of a gateway has. */
  async #believed(answer: BlobAnswer): Promise<BlobAnswer> {
    if (answer.kind !== "found") return answer;
    const { digest, access } = this.#options;
    const measured = { ...answer, body: this.#compared(answer.body) };
    if (answer.doubt === undefined || answer.size === undefined) return measured;
    const { doubt: _, ...believed } = measured;
    return (await access.statedSize(this.#remote, digest)) === answer.size ? believed : measured;
  }

  /** Measured, where there are siblings to be compared with. */
  #compared(body: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    const { siblings } = this.#options.sharing;
    const { upstream } = this.#remote;
    // What is held back says nothing of upstream.
    if (siblings === undefined || this.#options.bandwidth.pace !== undefined) return body;
    return watched(body, this.#options.clock, (bytes, waited) => siblings.cameFrom(upstream, bytes, waited));
  }

  /**
   * The bytes from `from` to `to` (exclusive), or more of them, from where the fill's own last came from. Rejects as `open`
   * does, and with StoreError.
   */
  async openPiece(from: number, to: number, signal: AbortSignal): Promise<BlobAnswer> {
    const { remote, digest, sharing, bandwidth } = this.#options;
    if (this.#place === "shared") {
      const found = await sharing.blobs?.store.open(digest, from, signal);
      return found === undefined
        ? { kind: "absent" }
        : { kind: "found", size: found.size, offset: from, body: found.body };
    }
    if (this.#place === "peer" && sharing.peers !== undefined && this.#peerAddress !== undefined)
      return await sharing.peers.open(this.#peerAddress, remote, digest, from, signal, to);
    if (this.#place === "sibling") {
      const piece = await sharing.siblings?.open(this.#sibling, remote, digest, from, signal, to);
      return piece === undefined || piece === "failed" ? { kind: "absent" } : piece;
    }
    const { registry, repository, onBehalfOf } = this.#remote;
    const pacer = bandwidth.transfer();
    return await registry.openBlob(repository, digest, from, signal, { to, pacer, user: onBehalfOf?.user });
  }

  /** In milliseconds, to upstream; undefined where that is not known, or not where the bytes come from. */
  get roundTrip(): number | undefined {
    return this.#place === "upstream" ? this.#remote.registry.roundTrip : undefined;
  }

  /**
   * The digest is wrong: this blob is not read again from the shared store or the nodes that sent some of it. Names these
   * places; undefined when every byte came from upstream: only then is it upstream's fault.
   */
  distrust(): string | undefined {
    const { distrusted, digest, sharing } = this.#options;
    const places = [...this.#places].filter((place) => place !== "upstream");
    for (const place of places) {
      distrusted.add(place, digest);
      if (place.startsWith(ofSibling))
        sharing.siblings?.wrong(place.slice(ofSibling.length), `bytes of another digest than ${digest}`);
    }
    return places.length === 0 ? undefined : places.join(" and ");
  }

  /**
   * The fill is over: publishes a blob that came from upstream or a sibling, then releases the lease. Removes the shared blob when its
   * bytes proved wrong.
   */
  async end(fill: Fill): Promise<void> {
    const { digest, sharing } = this.#options;
    const { blobs } = sharing;
    const fromShared = this.#places.has("shared");
    try {
      if (fromShared && this.#places.size === 1 && fill.failure instanceof NearbyMismatch)
        await blobs?.store.delete(digest).catch(() => {});
      else if (fill.stored && this.#place !== "peer" && !fromShared)
        await blobs?.publisher.publish(digest, fill.received, undefined);
    } finally {
      await this.#lease?.release();
    }
  }

  // ---- the shared store ---------------------------------------------------------------------------------------

  /** Undefined when the blob is not there or the store fails, which the store reports itself. */
  async #shared(from: number, signal: AbortSignal): Promise<BlobAnswer | undefined> {
    const store = this.#options.sharing.blobs?.store;
    const { digest, distrusted } = this.#options;
    if (store === undefined || this.#sharedFailed || distrusted.has("shared", digest)) return undefined;
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
      // The bytes of upstream itself are the proof then.
      if (error instanceof Unproved) return undefined;
      if (error instanceof UpstreamError || signal.aborted) throw error;
      this.#sharedFailed = true;
      return undefined;
    }
  }

  async #refusal(store: SharedBlobs): Promise<Refusal | undefined> {
    const { access, digest } = this.#options;
    if (await access.linked(this.#remote, digest)) return undefined;
    if ((await store.head(digest)) === undefined) return undefined;
    return await this.#unproved();
  }

  /**
   * No place but upstream grants a right: without a link upstream has to say that this repository may read the blob. Undefined when
   * it may. Rejects as Access.prove does.
   */
  async #unproved(): Promise<Refusal | undefined> {
    const { access, digest } = this.#options;
    const proof = await access.prove(this.#remote, digest, "blob");
    return isRefusal(proof) ? proof : undefined;
  }

  // ---- other nodes --------------------------------------------------------------------------------------------

  /**
   * The bytes another node has or is fetching; undefined when this node is to ask upstream. When the holder of the lease
   * cannot be read from, or is too slow, one other node asks upstream for all of them.
   */
  async #leased(from: number, signal: AbortSignal): Promise<BlobAnswer | undefined> {
    const { remote, digest, sharing } = this.#options;
    const { leases, blobs, peers } = sharing;
    if (this.#lease !== undefined) return undefined;
    if (leases === undefined) return await this.#stored(from, signal);
    // By upstream as well: nodes need not be configured with the same ones.
    const key = `blob:${remote.upstream}/${digest}`;
    for (let probe = 1; probe <= maxProbes; probe++) {
      // Without an answer this node fetches for itself; a lost answer is worth a second question.
      const answer = await leases
        .acquire(key)
        .catch(() => leases.acquire(key))
        .catch(() => undefined);
      if (answer === undefined) return await this.#stored(from, signal);
      if ("lease" in answer) {
        this.#lease = answer.lease;
        // The node that had it before may have stored the blob in the meantime.
        return (await this.#shared(from, signal)) ?? (await this.#stored(from, signal));
      }
      const running = await this.#peer(answer.heldBy, from, signal);
      if (running !== undefined) return running;
      if (this.#moved) break;
      // There is nothing to wait for: the other node fetches for its own store only.
      if (blobs === undefined && (peers === undefined || answer.heldBy === undefined)) return undefined;
      await this.#wait(key, signal);
      const stored = await this.#shared(from, signal);
      if (stored !== undefined) return stored;
    }
    return await this.#secondLease(leases, `${key} again`, from, signal);
  }

  /** What another node has; undefined when none has it. They are asked once: later one may have it from this very node. */
  async #stored(from: number, signal: AbortSignal): Promise<BlobAnswer | undefined> {
    const { sharing, remote, digest } = this.#options;
    if (this.#askedNodes) return undefined;
    this.#askedNodes = true;
    const address = await sharing.holders?.find(remote, digest, "blob");
    signal.throwIfAborted();
    return await this.#peer(address, from, signal);
  }

  async #secondLease(
    leases: Leases,
    key: string,
    from: number,
    signal: AbortSignal,
  ): Promise<BlobAnswer | undefined> {
    const answer = await leases.acquire(key).catch(() => undefined);
    if (answer === undefined) return undefined;
    if (!("lease" in answer)) return await this.#peer(answer.heldBy, from, signal);
    this.#lease = answer.lease;
    return undefined;
  }

  async #peer(
    address: string | undefined,
    from: number,
    signal: AbortSignal,
  ): Promise<BlobAnswer | undefined> {
    const { sharing, remote, digest, distrusted } = this.#options;
    if (address === undefined || sharing.peers === undefined || this.#failedPeers.has(address))
      return undefined;
    if (distrusted.has(address, digest)) return undefined;
    const failed = (): void => void this.#failedPeers.add(address);
    try {
      const answer = await sharing.peers.open(address, remote, digest, from, signal);
      if (answer.kind !== "found") return undefined;
      this.#place = "peer";
      this.#peerAddress = address;
      this.#places.add(address);
      return { ...answer, body: this.#guarded(answer.body, signal, failed) };
    } catch (error) {
      if (signal.aborted) throw error;
      failed();
      return undefined;
    }
  }

  // ---- siblings -----------------------------------------------------------------------------------------------

  /**
   * What the first sibling sends that has it, once the right is proved; undefined when none does, or one takes too long to say so
   * while upstream can be asked instead.
   */
  async #fromSiblings(from: number, signal: AbortSignal): Promise<BlobAnswer | undefined> {
    const { sharing, digest, distrusted } = this.#options;
    const { siblings } = sharing;
    if (siblings === undefined || this.#askedUpstream) return undefined;
    const remote = this.#remote;
    for (const name of siblings.toAsk(remote.upstream, remote.registry.available)) {
      const place = `${ofSibling}${name}`;
      if (this.#failedPeers.has(place) || distrusted.has(place, digest)) continue;
      const found = await siblings.open(name, remote, digest, from, signal);
      if (found === "failed") {
        // The time for such questions is over.
        if (remote.registry.available) return undefined;
        continue;
      }
      if (found === undefined) continue;
      const refusal = await this.#mayRead(name, found, signal);
      if (refusal !== undefined) {
        await found.body[Symbol.asyncIterator]().return?.();
        if (refusal === "unusable") continue;
        return refusal === "unproved" ? undefined : refusal;
      }
      this.#place = "sibling";
      this.#sibling = name;
      this.#places.add(place);
      siblings.hit(name);
      return { ...found, body: this.#whileFast(name, found, signal) };
    }
    return undefined;
  }

  /** Undefined when it is to be read; "unproved" when only the bytes of upstream can say whether it may be; "unusable": not that answer. */
  async #mayRead(
    name: string,
    { size }: { readonly size: number | undefined },
    signal: AbortSignal,
  ): Promise<Refusal | "unproved" | "unusable" | undefined> {
    const { sharing, access, digest } = this.#options;
    try {
      const stated = await access.statedSize(this.#remote, digest);
      if (stated !== undefined && size !== stated) {
        // Without a length it says nothing wrong.
        if (size !== undefined)
          sharing.siblings?.wrong(name, `${size} bytes for ${digest}, which has ${stated}`);
        return "unusable";
      }
      return await this.#unproved();
    } catch (error) {
      signal.throwIfAborted();
      // What upstream says to the question for the bytes themselves is what clients are told.
      if (error instanceof UpstreamError) return "unproved";
      throw error;
    }
  }

  /** Makes a sibling that fails in the middle, or is slower than upstream, a broken transfer, which goes on elsewhere. */
  async *#whileFast(
    name: string,
    { body, cacheStatus }: { readonly body: AsyncIterable<Buffer>; readonly cacheStatus?: string },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const { clock, sharing } = this.#options;
    const { siblings } = sharing;
    // What it is itself still fetching comes as its registry sends it, and says nothing of the sibling.
    const isItsOwn = cacheStatus === undefined || isHit(cacheStatus);
    let [waited, bytes] = [0, 0];
    let isSlow = false;
    const came = (more: number, milliseconds: number): void => {
      if (isItsOwn) siblings?.came(name, more, milliseconds);
      [waited, bytes] = [waited + milliseconds, bytes + more];
      if (waited < siblingWindow) return;
      const { upstream, registry } = this.#remote;
      isSlow = registry.available && bytes < waited * (siblings?.least(upstream) ?? 0);
      if (isSlow) throw new Error(`${bytes} bytes in ${waited} ms`);
      [waited, bytes] = [0, 0];
    };
    try {
      yield* watched(body, clock, came);
    } catch (error) {
      if (signal.aborted) throw error;
      this.#failedPeers.add(`${ofSibling}${name}`);
      const text = error instanceof Error ? error.message : String(error);
      if (isItsOwn) siblings?.[isSlow ? "slow" : "failed"](name, text);
      throw new NearbyBreak(`the blob broke off at a sibling: ${text}`, { cause: error });
    }
  }

  // ---- waiting ------------------------------------------------------------------------------------------------

  async #wait(key: string, signal: AbortSignal): Promise<void> {
    const { sharing, pause } = this.#options;
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    try {
      const step = pause(probeInterval, either);
      await Promise.race([step, sharing.releases?.released(key, either) ?? step]);
    } finally {
      over.abort();
    }
  }

  /** Makes a place that fails in the middle, or is too slow, a broken transfer, which goes on elsewhere. */
  async *#guarded(
    body: AsyncIterable<Buffer>,
    signal: AbortSignal,
    failed: () => void,
  ): AsyncGenerator<Buffer> {
    const { clock } = this.#options;
    let [waited, bytes, asked] = [0, 0, clock()];
    try {
      for await (const chunk of body) {
        waited += clock() - asked;
        bytes += chunk.length;
        yield chunk;
        if (waited >= rateWindow) {
          if (!this.#moved && this.#remote.registry.available && bytes < (waited / 1000) * minRate) {
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
      throw new NearbyBreak(`the blob broke off nearby: ${text}`, { cause: error });
    }
  }
}

/** What the places are called that are siblings, before the name. */
const ofSibling = "sibling ";

/** Whether the cache nearest to us, which is the last member of Cache-Status (RFC 9211, section 2), holds what it sends. */
function isHit(cacheStatus: string): boolean {
  return /;\s*hit\b[^,]*$/.test(cacheStatus);
}

/**
 * The same bytes. `came` is told how many have come while they were waited for so many milliseconds: about each second of
 * waiting, and at the end. What it throws ends the transfer.
 */
async function* watched(
  body: AsyncIterable<Buffer>,
  clock: Clock,
  came: (bytes: number, waited: number) => void,
): AsyncGenerator<Buffer> {
  let [waited, bytes, asked] = [0, 0, clock()];
  for await (const chunk of body) {
    waited += clock() - asked;
    bytes += chunk.length;
    yield chunk;
    if (waited >= measuredAfter) {
      came(bytes, waited);
      [waited, bytes] = [0, 0];
    }
    asked = clock();
  }
  if (bytes > 0) came(bytes, waited);
}
