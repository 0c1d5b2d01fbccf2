// The repositories that were read most, and those that had to be fetched most, in the last hours.
import type { RequestEvent } from "../../ports/event.ts";
import { type TopKey, TopKeys } from "./top-keys.ts";

export interface HeavyRepository {
  readonly upstream: string;
  readonly repository: string;
  /** Bytes sent, or answers that were a miss. */
  readonly weight: number;
  /** At most this much of `weight` may be another repository's. */
  readonly over: number;
}

export interface RecentRepositoriesReport {
  /** What is counted since then, in milliseconds since the epoch. */
  readonly since: number;
  readonly byBytes: readonly HeavyRepository[];
  readonly byMisses: readonly HeavyRepository[];
}

/** Repositories held per generation and list. */
const capacity = 128;
const shown = 10;
/** Milliseconds; two generations are shown. */
const generation = 6 * 3_600_000;

export class RecentRepositories {
  readonly #bytes = new TopKeys(capacity);
  readonly #misses = new TopKeys(capacity);
  #previous: number;
  #current: number;

  constructor(now: number) {
    this.#previous = now;
    this.#current = now;
  }

  /** Answers below 400 only: names that no upstream knows must not push out those that it does. */
  onEvent({ upstream, repository, status, bytesSent, result }: RequestEvent, now: number): void {
    if (now - this.#current >= generation) this.#turn(now);
    if (upstream === undefined || repository === undefined || status >= 400) return;
    const key = `${upstream} ${repository}`;
    if (bytesSent > 0) this.#bytes.add(key, bytesSent);
    if (result === "miss") this.#misses.add(key, 1);
  }

  report(now: number): RecentRepositoriesReport {
    if (now - this.#current >= generation) this.#turn(now);
    return {
      since: this.#previous,
      byBytes: this.#bytes.top(shown).map(heavy),
      byMisses: this.#misses.top(shown).map(heavy),
    };
  }

  #turn(now: number): void {
    this.#bytes.turn();
    this.#misses.turn();
    this.#previous = this.#current;
    this.#current = now;
  }
}

/** Neither part of a key contains a blank. */
function heavy({ key, weight, over }: TopKey): HeavyRepository {
  const blank = key.indexOf(" ");
  return { upstream: key.slice(0, blank), repository: key.slice(blank + 1), weight, over };
}
