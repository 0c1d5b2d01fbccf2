// Which tags clients ask for regularly, and when each of them is to be confirmed so that no client has to wait for it.
import { LRUCache } from "lru-cache";
import type { Tag } from "../../oci/name.ts";
import { type Clock, recordAge } from "../../ports/clock.ts";
import type { TagRecord } from "../../ports/records.ts";
import { keyIn, type Scope } from "../../ports/scope.ts";

/** Tags that are watched, about 5 MB of them: the one that upstream was asked about longest ago makes way for another. */
const mostWatched = 10_000;
/** Times to live, in milliseconds, below which there is no time to confirm anything ahead. */
const shortestTtl = 10_000;
/** A request in each of three times to live: the first and now are two of them apart, at least. */
const regularFor = 2;
/** Times to live without a request after which a tag is not asked for regularly any more: clients that poll are late sometimes. */
const longestGap = 1.25;
/** Milliseconds before its end at which a tag is confirmed at the latest. */
const lead = 1_500;
/** Share of the time to live over which confirmations are spread, and milliseconds at least. */
const spread = 0.06;
const leastSpread = 2_000;
/** Milliseconds: tags that are due in the same ones are looked at together. */
const slotLength = 250;

/** A tag that upstream was asked about for a client. Times in milliseconds. */
export interface WatchedTag {
  readonly scope: Scope;
  readonly tag: Tag;
  /** Of its record, when that is next looked at. */
  checkedAt: number;
  ttl: number;
  /** The first and the last request of those that come regularly, as far as is known; endless: there is no first yet. */
  first: number;
  last: number;
  /** Undefined: upstream is asked when a client asks. */
  slot: number | undefined;
}

export interface RegularTagsOptions {
  readonly clock: Clock;
  readonly steady: Clock;
  /** At least 0, below 1: which of the milliseconds a confirmation is spread over. */
  readonly random?: () => number;
}

export class RegularTags {
  readonly #clock: Clock;
  readonly #steady: Clock;
  readonly #random: () => number;
  readonly #watched: LRUCache<string, WatchedTag>;
  /** The tags that are due, by the steady clock. Each is in one slot at most. */
  readonly #slots = new Map<number, Set<WatchedTag>>();
  /** The first slot that has not been looked at. */
  #next: number;

  constructor({ clock, steady, random = Math.random }: RegularTagsOptions) {
    this.#clock = clock;
    this.#steady = steady;
    this.#random = random;
    this.#next = this.#slotAt(0);
    this.#watched = new LRUCache({
      max: mostWatched,
      dispose: (watched) => this.#unschedule(watched),
    });
  }

  get size(): number {
    return this.#watched.size;
  }

  /**
   * The record is what upstream has just said of the tag; `known` is the one before it, with what is known of requests. It
   * is looked at again before it expires, unless it does not (`ttl` in milliseconds) or is about to.
   */
  confirmed(scope: Scope, tag: Tag, record: TagRecord, ttl: number, known: TagRecord | undefined): void {
    const key = keyIn(scope, tag);
    if (ttl < shortestTtl || !Number.isFinite(ttl)) {
      this.#watched.delete(key);
      return;
    }
    let watched = this.#watched.get(key);
    if (watched === undefined) {
      const { upstream, repository } = scope;
      const none = { first: Number.POSITIVE_INFINITY, last: Number.NEGATIVE_INFINITY };
      watched = { scope: { upstream, repository }, tag, checkedAt: 0, ttl, ...none, slot: undefined };
      this.#watched.set(key, watched);
    }
    watched.ttl = ttl;
    this.note(watched, known?.askedAt);
    this.schedule(watched, record);
  }

  /** A client asks for the tag. */
  asked(scope: Scope, tag: Tag): void {
    const watched = this.#watched.get(keyIn(scope, tag));
    if (watched === undefined) return;
    const now = this.#clock();
    if (!this.isInUse(watched)) watched.first = now;
    watched.last = now;
  }

  /** A client has asked for it then, and others may have since the request that was noted before. */
  note(watched: WatchedTag, at: number | undefined): void {
    if (at === undefined || at <= watched.last) return;
    watched.first = Math.min(watched.first, at);
    watched.last = at;
  }

  /** Clients have ceased to ask for it: the next one begins anew. */
  idle(watched: WatchedTag): void {
    watched.first = Number.POSITIVE_INFINITY;
  }

  /** It is looked at before this record expires, at a moment that differs from that of others. */
  schedule(watched: WatchedTag, { checkedAt }: TagRecord): void {
    const { ttl } = watched;
    watched.checkedAt = checkedAt;
    const left = ttl - recordAge(checkedAt, this.#clock());
    if (left < shortestTtl) this.#unschedule(watched);
    else this.again(watched, left - lead - this.#random() * Math.max(leastSpread, spread * ttl));
  }

  /** It is looked at in so many milliseconds. */
  again(watched: WatchedTag, milliseconds: number): void {
    this.#unschedule(watched);
    const slot = Math.max(this.#next, this.#slotAt(milliseconds));
    watched.slot = slot;
    const others = this.#slots.get(slot) ?? new Set();
    this.#slots.set(slot, others.add(watched));
  }

  /** It is not watched any more, until a client makes that upstream is asked about it. */
  forget({ scope, tag }: Pick<WatchedTag, "scope" | "tag">): void {
    this.#watched.delete(keyIn(scope, tag));
  }

  /** Those that are to be looked at now: each once. */
  due(): readonly WatchedTag[] {
    const end = this.#slotAt(0);
    if (end < this.#next) return [];
    const due: WatchedTag[] = [];
    // After a long sleep of the machine there are more slots that have passed than slots with tags.
    const passed = [...this.#slots.keys()].filter((slot) => slot <= end).sort((a, b) => a - b);
    for (const slot of passed) {
      due.push(...(this.#slots.get(slot) ?? []));
      this.#slots.delete(slot);
    }
    for (const watched of due) watched.slot = undefined;
    this.#next = end + 1;
    return due;
  }

  /** Whether clients go on asking for it. A request that is still to come was made by a clock that has been set back. */
  isInUse({ last, ttl }: WatchedTag): boolean {
    return Math.abs(this.#clock() - last) <= longestGap * ttl;
  }

  /** Whether clients have asked for it in each of its last three times to live, and go on. */
  isRegular(watched: WatchedTag): boolean {
    return this.#clock() - watched.first >= regularFor * watched.ttl && this.isInUse(watched);
  }

  #slotAt(milliseconds: number): number {
    return Math.floor((this.#steady() + milliseconds) / slotLength);
  }

  #unschedule(watched: WatchedTag): void {
    if (watched.slot === undefined) return;
    const others = this.#slots.get(watched.slot);
    others?.delete(watched);
    if (others?.size === 0) this.#slots.delete(watched.slot);
    watched.slot = undefined;
  }
}
