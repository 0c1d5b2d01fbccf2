// Limits that the configuration has for some callers: requests and bytes a second, and fills of blobs that are not here. The
// first rule that is for a caller counts; who is exempt has no limit, nor has another node. Each caller has the rule's limits
// for itself, or all it is for have them together.
//
// With workers it is all in the primary: it gives no grants to callers whose rates are limited.
import { LRUCache } from "lru-cache";
import { type Caller, isOneOf } from "../../gate/caller.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { Networks } from "../../ports/networks.ts";
import type { OnBehalfOf, Pacer } from "../../ports/upstream.ts";
import { type After, timer } from "../fair-queue.ts";
import { RateQueue, type Waiting } from "./rate-queue.ts";

export interface CallerLimitRule {
  /** Names and groups, as they are; both empty: everybody. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
  /** Whether it is for callers without a name as well, when there are users or groups. */
  readonly anonymous: boolean;
  /** Addresses and CIDR networks; empty: all. */
  readonly networks: readonly string[];
  readonly requestsPerSecond?: number | undefined;
  readonly bytesPerSecond?: number | undefined;
  /** Fills from one upstream at the same time. */
  readonly coldFills?: number | undefined;
  /** Those it is for have the limits together. */
  readonly shared: boolean;
}

export interface CallerLimitsOptions {
  readonly notices: NoticeSink;
  /** A steady one. */
  readonly clock: Clock;
  /** Node's timers when left out. */
  readonly after?: After;
}

/** Callers whose rates are remembered; one that is forgotten begins anew. */
const maxCallers = 10_000;
/** Seconds a request may have to wait by what is known when it comes; else it is refused. */
const longestWait = 10;
/** Bytes that may be sent at once: those of a second, and at least this many. */
const leastBurst = 64 * 1024;
/** Seconds of Retry-After at most. */
const longestRetry = 60;

/** A caller has more requests a second than it may, and too many of them wait already. */
export class OverRate extends Error {
  /** Seconds. */
  readonly retryAfter: number;

  constructor(retryAfter: number) {
    super("too many requests a second");
    this.name = "OverRate";
    this.retryAfter = retryAfter;
  }
}

interface Rates {
  readonly requests: RateQueue | undefined;
  readonly bytes: RateQueue | undefined;
}

interface Compiled {
  readonly rule: CallerLimitRule;
  /** By its place in the list, from 1 on. */
  readonly number: number;
  readonly users: ReadonlySet<string>;
  readonly groups: ReadonlySet<string>;
  readonly networks: Networks | undefined;
}

export class CallerLimits {
  readonly rules: readonly CallerLimitRule[];
  readonly #compiled: readonly Compiled[];
  readonly #options: CallerLimitsOptions;
  readonly #rates = new LRUCache<string, Rates>({ max: maxCallers });

  /** Throws the system's error for what is no network. */
  constructor(rules: readonly CallerLimitRule[], options: CallerLimitsOptions) {
    this.#options = options;
    this.rules = rules;
    this.#compiled = rules.map((rule, index) => ({
      rule,
      number: index + 1,
      users: new Set(rule.users),
      groups: new Set(rule.groups),
      networks: rule.networks.length === 0 ? undefined : new Networks(rule.networks),
    }));
  }

  /** Undefined: none. */
  of(caller: Caller, by: OnBehalfOf): CallerLimit | undefined {
    if (by.exempt) return undefined;
    const found = this.#compiled.find((rule) => isFor(rule, caller));
    if (found === undefined) return undefined;
    const { rule, number } = found;
    // No key of a caller begins with a digit and a slash.
    const key = rule.shared ? `${number}/` : `${number}/${by.key}`;
    return new CallerLimit(rule, number, key, by, this.#ratesOf(key, rule), this.#options.notices);
  }

  #ratesOf(key: string, { requestsPerSecond, bytesPerSecond }: CallerLimitRule): Rates {
    const known = this.#rates.get(key);
    if (known !== undefined) return known;
    const { clock, after = timer } = this.#options;
    const queue = (perSecond: number | undefined, least: number): RateQueue | undefined =>
      perSecond === undefined
        ? undefined
        : new RateQueue({ perSecond, burst: Math.max(perSecond, least) }, clock, after);
    const rates = { requests: queue(requestsPerSecond, 1), bytes: queue(bytesPerSecond, leastBurst) };
    this.#rates.set(key, rates);
    return rates;
  }
}

function isFor(compiled: Compiled, caller: Caller): boolean {
  const { rule, users, groups, networks } = compiled;
  if (networks?.has(caller.address) === false) return false;
  if (users.size === 0 && groups.size === 0) return true;
  return caller.name === undefined ? rule.anonymous : isOneOf(caller, compiled);
}

/** What one request of a caller is bound to. */
export class CallerLimit {
  /** Instead of those every client has: whose fills count together, and how many there may be. */
  readonly coldFills: { readonly key: string; readonly most: number } | undefined;
  readonly #number: number;
  readonly #by: OnBehalfOf;
  readonly #rates: Rates;
  readonly #notices: NoticeSink;

  constructor(
    { coldFills }: CallerLimitRule,
    number: number,
    key: string,
    by: OnBehalfOf,
    rates: Rates,
    notices: NoticeSink,
  ) {
    this.coldFills = coldFills === undefined ? undefined : { key, most: coldFills };
    this.#number = number;
    this.#by = by;
    this.#rates = rates;
    this.#notices = notices;
  }

  /** Whether requests or bytes a second are limited, so that each has to be counted. */
  get rated(): boolean {
    return this.#rates.requests !== undefined || this.#rates.bytes !== undefined;
  }

  /** Undefined: the request may be answered now. Throws OverRate. */
  request(): Waiting | undefined {
    const { requests } = this.#rates;
    if (requests === undefined) return undefined;
    const wait = requests.waitOf(this.#by.key);
    const turn = requests.enter(this.#by.key, 1);
    if (turn === undefined) return undefined;
    const refused = wait > longestWait;
    this.#notices({ kind: "caller_limit", rule: this.#number, result: refused ? "refused" : "waited" });
    if (!refused) return turn;
    turn.leave();
    throw new OverRate(Math.min(Math.ceil(wait), longestRetry));
  }

  /** Paces the bytes of one answer; undefined: nothing does. */
  pacer(): AnswerPacer | undefined {
    return this.#rates.bytes && new AnswerPacer(this.#rates.bytes, this.#by.key);
  }
}

/** One piece of the answer waits at a time. */
export class AnswerPacer implements Pacer {
  readonly #bytes: RateQueue;
  readonly #key: string;
  #waiting: Waiting | undefined;
  #over = false;

  constructor(bytes: RateQueue, key: string) {
    this.#bytes = bytes;
    this.#key = key;
  }

  came(bytes: number): Promise<void> | undefined {
    if (this.#over) return undefined;
    this.#waiting = this.#bytes.enter(this.#key, bytes);
    return this.#waiting?.turn;
  }

  /** Bytes that go out at once. */
  count(bytes: number): void {
    this.#bytes.use(bytes);
  }

  over(): void {
    this.#over = true;
    this.#waiting?.leave();
  }
}
