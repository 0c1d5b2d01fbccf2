// Whether a name and a password are those of a user. Checking costs the processor some tens of milliseconds by design, so
// what was right is remembered for a while, the same question is checked once for all who ask it, and what nobody has
// proved is checked a few at a time and a few from each address.
import { LRUCache } from "lru-cache";
import type { Clock } from "../ports/clock.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { readBasic } from "./basic-credentials.ts";
import { createCredentialKey } from "./credential-key.ts";
import type { Users } from "./htpasswd.ts";

/** Compares a password with a hash of bcrypt, off the event loop. */
export type Verify = (password: Buffer, hash: string) => Promise<boolean>;

/** `wrong`: they are nobody's; `too_many`: from this address, for now; `busy`: as many as may wait to be checked. */
export type Checked = { readonly name: string } | "wrong" | "too_many" | "busy";

export interface PasswordsOptions {
  readonly users: Users;
  readonly verify: Verify;
  /** A steady one. */
  readonly clock: Clock;
}

/** Milliseconds for which right credentials are remembered, and how many. */
const rememberedFor = 60_000;
const maxRemembered = 10_000;
/** Comparisons under way: half of the threads that Node has for files, too. */
const maxRunning = 2;
/** Comparisons that wait for one of these. */
const maxWaiting = 256;
/** What bcrypt takes of a password, in bytes; htpasswd leaves off the rest as well. */
const longestPassword = 72;
/**
 * Attempts of one address (of IPv6 a /64) that have failed or are under way. One is forgotten every second, one that was
 * right at once: an address that guesses gets one guess a second, and whoever shares it is let in as soon as it stops.
 */
const maxAttempts = 40;
const forgottenEvery = 1_000;
/** Addresses whose attempts are counted. */
const maxAddresses = 10_000;

export class Passwords {
  readonly #verify: Verify;
  readonly #keyOf = createCredentialKey();
  readonly #right: LRUCache<string, { readonly name: string }>;
  readonly #checks = new SingleFlight<Checked>();
  readonly #attempts: Attempts;
  #users: Users;
  #hashes: readonly string[];
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor({ users, verify, clock }: PasswordsOptions) {
    this.#users = users;
    this.#hashes = [...users.values()];
    this.#verify = verify;
    this.#attempts = new Attempts(clock);
    this.#right = new LRUCache({
      max: maxRemembered,
      ttl: rememberedFor,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** Other users from now on: what was remembered of those before is forgotten. */
  use(users: Users): void {
    this.#users = users;
    this.#hashes = [...users.values()];
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

  #attempt(key: string, token: string, network: string): Checked | Promise<Checked> {
    const credentials = readBasic(token);
    if (credentials === undefined) return "wrong";
    return this.#checks.run(key, async () => {
      if (!this.#attempts.begin(network)) return "too_many";
      let checked: Checked = "wrong";
      try {
        checked = await this.#compare(key, credentials.name, credentials.password);
      } finally {
        if (checked !== "wrong") this.#attempts.takeBack(network);
      }
      return checked;
    }).promise;
  }

  async #compare(key: string, name: string, password: Buffer): Promise<Checked> {
    if (this.#running >= maxRunning) {
      if (this.#waiting.length >= maxWaiting) return "busy";
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      for (;;) {
        const users = this.#users;
        const hash = users.get(name);
        // A name that nobody has costs as much time as one that somebody has.
        const compared = hash ?? this.#anyHash(name);
        const same = await this.#verify(password.subarray(0, longestPassword), compared);
        if (users !== this.#users) continue;
        if (!same || hash === undefined) return "wrong";
        const right = { name };
        this.#right.set(key, right);
        return right;
      }
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  /** The same for the same name, so that asking twice shows no difference either. */
  #anyHash(name: string): string {
    const number = Buffer.from(this.#keyOf(name), "base64").readUInt32LE();
    return this.#hashes[number % this.#hashes.length] as string;
  }
}

/** The attempts of each address, as tokens of a bucket that fills itself. */
class Attempts {
  readonly #clock: Clock;
  readonly #made: LRUCache<string, { count: number; at: number }>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#made = new LRUCache({ max: maxAddresses });
  }

  /** False when there were too many. */
  begin(network: string): boolean {
    const now = this.#clock();
    const { count, at } = this.#made.get(network) ?? { count: 0, at: now };
    const forgotten = Math.floor((now - at) / forgottenEvery);
    const left = Math.max(0, count - forgotten);
    // With nothing left the clock of forgetting starts anew.
    const since = left === 0 ? now : at + forgotten * forgottenEvery;
    const taken = left < maxAttempts;
    this.#made.set(network, { count: left + (taken ? 1 : 0), at: since });
    return taken;
  }

  /** One of them was right, or was not checked. */
  takeBack(network: string): void {
    const made = this.#made.get(network);
    if (made !== undefined && made.count > 0) made.count--;
  }
}
