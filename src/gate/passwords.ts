// Whether a name and a password are those of a user. The directory that knows takes some tens of milliseconds, by design or
// because it is far, so what was right is remembered for a while, the same question is asked once for all who ask it, and
// what nobody has proved is asked a few at a time and a few from each address.
import { LRUCache } from "lru-cache";
import type { Clock } from "../ports/clock.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { Turns } from "../ports/turns.ts";
import { Attempts } from "./attempts.ts";
import { readBasic } from "./basic-credentials.ts";
import { createCredentialKey } from "./credential-key.ts";
import { type Directory, DirectoryDown, type Person } from "./directory.ts";

/**
 * `wrong`: they are nobody's; `too_many`: from this address, for now; `busy`: as many as may wait to be checked; `down`: the
 * directory cannot be asked.
 */
export type Checked = Person | "wrong" | "too_many" | "busy" | "down";

export interface PasswordsOptions {
  readonly directory: Directory;
  /** Questions to the directory at the same time, at least 1. */
  readonly running: number;
  /** A steady one. */
  readonly clock: Clock;
}

/** Milliseconds for which right credentials are remembered, and how many. */
const rememberedFor = 60_000;
const maxRemembered = 10_000;
/** Questions that wait for one of those under way. */
const maxWaiting = 256;
/**
 * Attempts of one address (of IPv6 a /64) that have failed or are under way: one that guesses gets one guess a second, and
 * whoever shares it is let in as soon as it stops.
 */
const maxAttempts = 40;

export class Passwords {
  readonly #directory: Directory;
  readonly #keyOf = createCredentialKey();
  readonly #right: LRUCache<string, Person>;
  readonly #checks = new SingleFlight<Checked>();
  readonly #attempts: Attempts;
  readonly #clock: Clock;
  /** Counts how often everything was forgotten. */
  #generation = 0;
  readonly #turns: Turns;

  constructor({ directory, running, clock }: PasswordsOptions) {
    this.#directory = directory;
    this.#turns = new Turns(running);
    this.#attempts = new Attempts(maxAttempts, clock);
    this.#clock = clock;
    this.#right = new LRUCache({
      max: maxRemembered,
      ttl: rememberedFor,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** The directory has changed: nothing that it has said counts any more, nor what it is about to say. */
  forget(): void {
    this.#generation++;
    this.#right.clear();
  }

  /**
   * Checks the credentials in `token` (basic-credentials.ts), sent from the address, or the /64, `network`. At once when
   * they are remembered.
   */
  check(token: string, network: string): Checked | Promise<Checked> {
    const key = this.#keyOf(token);
    return this.#right.get(key) ?? this.#attempt(key, token, network);
  }

  /** Milliseconds for which a right login is good from now on; undefined: until the directory changes. */
  lastsOf({ until }: Person): number | undefined {
    return until === undefined ? undefined : until - this.#clock();
  }

  #attempt(key: string, token: string, network: string): Checked | Promise<Checked> {
    const credentials = readBasic(token);
    if (credentials === undefined) return "wrong";
    return this.#checks.run(key, async () => {
      if (!this.#attempts.begin(network)) return "too_many";
      let checked: Checked = "wrong";
      try {
        checked = await this.#ask(key, credentials.name, credentials.password);
      } finally {
        if (checked !== "wrong") this.#attempts.takeBack(network);
      }
      return checked;
    }).promise;
  }

  async #ask(key: string, name: string, password: Buffer): Promise<Checked> {
    if (this.#turns.waiting >= maxWaiting) return "busy";
    return await this.#turns.run(() => this.#find(key, name, password));
  }

  async #find(key: string, name: string, password: Buffer): Promise<Checked> {
    try {
      for (;;) {
        const generation = this.#generation;
        const person = await this.#directory.find(name, password);
        if (generation !== this.#generation) continue;
        if (person === undefined) return "wrong";
        const ttl = Math.min(rememberedFor, this.lastsOf(person) ?? rememberedFor);
        if (ttl > 0) this.#right.set(key, person, { ttl });
        return person;
      }
    } catch (error) {
      if (!(error instanceof DirectoryDown)) throw error;
      return "down";
    }
  }
}
