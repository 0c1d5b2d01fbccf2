// The fills under way: at most one for each blob that clients can join.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { RemoteRepository } from "../../ports/upstream.ts";
import type { OversizeAnswer } from "../../ports/upstream-answer.ts";
import type { Access } from "../access.ts";
import { type Every, FairBandwidth } from "../bandwidth/fair-bandwidth.ts";
import type { BlobUse, LocalBlobs } from "../local-blobs.ts";
import { UpstreamConcurrency } from "../segments/concurrency.ts";
import { SegmentBudget } from "../segments/segment-queue.ts";
import type { Segmenting } from "../segments/segmented-body.ts";
import { Fill, type FillOptions } from "./fill.ts";
import type { PieceSource } from "./pieces.ts";
import { DistrustedPlaces, FillSource, type Sharing } from "./source.ts";
import { WindowBudget } from "./window.ts";

/** Memory for segments that arrive before their turn, in bytes over all fills. */
const segmentBytes = 32 * 1024 * 1024;
/** Milliseconds for which it is remembered that an upstream does not do ranges, and how many such upstreams are. */
const rangelessFor = 10 * 60_000;
const maxRangeless = 1_000;

export interface FillsOptions {
  readonly local: LocalBlobs;
  readonly access: Access;
  /** What this node shares with others; left out: nothing. */
  readonly sharing?: Sharing | undefined;
  /** Bytes of running fills kept in memory, over all fills. */
  readonly windowBytes: number;
  /** Share of the time since the last call in which the event loop was busy, 0 to 1; left out: measured. */
  readonly load?: () => number;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
  /** For what comes again and again; left out: Node's interval. */
  readonly every?: Every;
}

/** A fill, where its bytes come from, and for whom it asks upstream. */
export interface Filling {
  readonly fill: Fill;
  readonly source: FillSource;
  readonly remote: RemoteRepository;
  /** Of Access: when it began. */
  readonly since: number;
}

export class Fills {
  readonly #options: FillsOptions;
  /** The fill a client of this digest joins. */
  readonly #byDigest = new Map<Digest, Filling>();
  /** Every fill under way, also those that can no longer be joined. */
  readonly #open = new Set<Fill>();
  readonly #running = new Set<Fill>();
  /** Fills that are still to give their blob to other nodes. */
  readonly #ending = new Set<Promise<void>>();
  readonly #budget: WindowBudget;
  /** By upstream: as many as there have been in the configuration. */
  readonly #bandwidths = new Map<string, FairBandwidth>();
  readonly #distrusted = new DistrustedPlaces();
  /** Those, and all of them for a blob that was purged a moment ago. */
  readonly #placesNotAsked: Pick<DistrustedPlaces, "has" | "add">;
  readonly #segmenting: Omit<Segmenting, "held">;
  /** Upstreams that have not answered a range with that range: they are not asked for one far ahead of a fill. */
  readonly #rangeless: LRUCache<string, true>;

  constructor(options: FillsOptions) {
    this.#options = options;
    const { local } = options;
    this.#placesNotAsked = {
      has: (place, digest) => local.purged.hasJust(digest) || this.#distrusted.has(place, digest),
      add: (place, digest) => this.#distrusted.add(place, digest),
    };
    this.#budget = new WindowBudget(options.windowBytes);
    const { clock, pause, notices, load = eventLoopLoad() } = options;
    const budget = new SegmentBudget(segmentBytes);
    this.#rangeless = new LRUCache({
      max: maxRangeless,
      ttl: rangelessFor,
      ttlResolution: 0,
      perf: { now: clock },
    });
    this.#segmenting = { concurrency: new UpstreamConcurrency(clock, notices), budget, load, clock, pause };
  }

  /** Every fill under way, in the order of their start. */
  get running(): readonly Fill[] {
    return [...this.#running];
  }

  /** The fills that clients of a blob join, in the order of their start. */
  get byDigest(): readonly Filling[] {
    return [...this.#byDigest.values()];
  }

  /** Bytes of the store that spools take or will take: those of running fills at their full length, and those kept. */
  get bytes(): number {
    let bytes = this.#options.local.spoolBytes;
    for (const fill of this.#running)
      if (fill.storing) bytes += Math.max(0, (fill.size ?? fill.received) - fill.spooled);
    return bytes;
  }

  /** Every fill that is under way, or whose bytes are still being read by one of its followers. */
  get open(): readonly Fill[] {
    return [...this.#open];
  }

  of(digest: Digest): Filling | undefined {
    return this.#byDigest.get(digest);
  }

  /** Whether the shared store is not asked for it: it has given wrong bytes, or the blob was purged a moment ago. */
  distrusts(digest: Digest): boolean {
    return this.#placesNotAsked.has("shared", digest);
  }

  /** Ends the fills of these blobs; resolves when nothing of them can be stored any more. */
  async purge(digests: ReadonlySet<Digest>): Promise<void> {
    const fills = this.running.filter(({ digest }) => digests.has(digest));
    for (const fill of fills) fill.abort(new Error("the blob was purged"));
    await Promise.all(fills.map((fill) => fill.done));
  }

  /** A fill that a new client can read from the first byte. */
  joinable(digest: Digest): Filling | undefined {
    const filling = this.#byDigest.get(digest);
    return filling?.fill.joinable === true ? filling : undefined;
  }

  /**
   * Starts a fill for a client that wants all or some of the blob. Upstream's answer to it proves that the repository may
   * read the blob.
   */
  start(remote: RemoteRepository, digest: Digest, use: BlobUse): Filling {
    const { local, access, sharing = {}, clock, pause } = this.#options;
    const since = access.ends;
    const distrusted = this.#placesNotAsked;
    const asked = { remote, digest, followed: () => fill.remotes };
    const bandwidth = this.#bandwidthOf(remote.upstream).use();
    const segmenting = { ...this.#segmenting, held: () => bandwidth.takeHeld() };
    const source = new FillSource({
      ...asked,
      access,
      sharing,
      distrusted,
      segmenting,
      bandwidth,
      clock,
      pause,
    });
    // The fill before it may be about to keep what it has brought.
    const before = this.#byDigest.get(digest)?.fill;
    const fill = this.#run(remote.upstream, digest, {
      open: (...asked) => source.open(...asked),
      bandwidth,
      pieces: this.#pieceSource(source, remote.upstream),
      ranged: use === "part",
      spool: (size) => local.spool(size),
      distrust: () => source.distrust(),
      resume: async () => {
        if (before?.keeping === true) await before.done;
        const kept = await local.resume(digest, remote.upstream);
        if (kept !== undefined) source.resumed();
        return kept;
      },
      mayKeep: (bytes) => source.onlyUpstream && bytes <= local.mostKept,
    });
    const filling = { fill, source, remote, since };
    this.#byDigest.set(digest, filling);
    const ending = fill.done.then(async () => {
      if (this.#byDigest.get(digest) === filling) this.#byDigest.delete(digest);
      await source.end(fill);
      this.#ending.delete(ending);
    });
    this.#ending.add(ending);
    return filling;
  }

  /**
   * Starts the fill of a manifest too large to hold: verified like a blob, never stored. `first` is the answer of
   * upstream that showed its size; the rest of a body that breaks off is asked for by digest.
   */
  relayManifest(remote: RemoteRepository, digest: Digest, first?: OversizeAnswer): Fill {
    let unread = first;
    const bandwidth = this.#bandwidthOf(remote.upstream).use();
    return this.#run(remote.upstream, digest, {
      bandwidth,
      open: async (from, signal) => {
        const answer = unread;
        unread = undefined;
        if (answer === undefined)
          return remote.registry.openBlob(remote.repository, digest, from, signal, {
            endpoint: "manifests",
            pacer: bandwidth.transfer(),
            user: remote.onBehalfOf?.user,
          });
        if (signal.aborted) answer.discard();
        signal.throwIfAborted();
        return { kind: "found", size: answer.size, offset: 0, body: answer.read(signal) };
      },
      spool: async () => undefined,
    });
  }

  #bandwidthOf(upstream: string): FairBandwidth {
    const known = this.#bandwidths.get(upstream);
    if (known !== undefined) return known;
    const made = new FairBandwidth(this.#options.clock, this.#options.every);
    this.#bandwidths.set(upstream, made);
    return made;
  }

  #pieceSource(source: FillSource, upstream: string): PieceSource {
    const rangeless = this.#rangeless;
    return {
      open: (...asked) => source.openPiece(...asked),
      get roundTrip() {
        return source.roundTrip;
      },
      get refused() {
        return rangeless.has(upstream);
      },
      refuse: () => void rangeless.set(upstream, true),
    };
  }

  #run(
    upstream: string,
    digest: Digest,
    how: Pick<
      FillOptions,
      "open" | "bandwidth" | "pieces" | "ranged" | "spool" | "distrust" | "resume" | "mayKeep"
    >,
  ): Fill {
    const { local, notices, clock, pause } = this.#options;
    const fill = new Fill({
      ...how,
      digest,
      upstream,
      committed: (size) => local.committed(digest, size, undefined),
      unused: (ended) => this.#open.delete(ended),
      budget: this.#budget,
      notices,
      clock,
      pause,
    });
    this.#running.add(fill);
    this.#open.add(fill);
    void fill.done.then(() => this.#running.delete(fill));
    return fill;
  }

  /** Ends every fill; resolves when their spools are gone and other nodes have been told. */
  async stop(reason: Error): Promise<void> {
    const fills = this.running;
    for (const fill of fills) fill.abort(reason);
    await Promise.all(fills.map((fill) => fill.done));
    await Promise.all(this.#ending);
  }
}

/** Share of the time since the last call in which the event loop was busy; since the start at first. */
function eventLoopLoad(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}
