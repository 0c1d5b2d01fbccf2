// Whether a token in an Authorization header is good, and what it proves. Verifying a signature takes longer than all else in
// the answer to a hit, so what was good is remembered for a while.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../ports/clock.ts";
import { SingleFlight } from "../../ports/single-flight.ts";
import { createCredentialKey } from "../credential-key.ts";
import { DirectoryDown, type Person } from "../directory.ts";
import type { TokenAccess } from "./token-access.ts";

/** What a token proves. */
export interface Proved {
  /** Undefined: nobody has to be anybody for it. */
  readonly person: Person | undefined;
  /** What it is limited to; undefined: nothing but the rules. */
  readonly access: TokenAccess | undefined;
  /** When it ends, in milliseconds since the epoch. */
  readonly endsAt: number;
}

/** What a token has proved, and until when that counts, by the steady clock. */
export interface Bearer extends Omit<Proved, "endsAt"> {
  readonly until: number;
}

/** `bad`: it proves nothing; `down`: that cannot be found out now. */
export type CheckedToken = Bearer | "bad" | "down";

export interface BearerTokensOptions {
  /** What the token proves; undefined: nothing. May reject with DirectoryDown. */
  readonly prove: (token: string) => Promise<Proved | undefined>;
  /** The machine's own, and a steady one. */
  readonly clock: Clock;
  readonly steady: Clock;
}

/** Longest Authorization header that is read, in characters. */
const longest = 32 * 1024;
/** RFC 6750, section 2.1. */
const grammar = /^bearer +([A-Za-z0-9._~+/-]+=*)[ \t]*$/i;
/** Milliseconds for which a good token is remembered, and how many. */
const rememberedFor = 60_000;
const maxRemembered = 10_000;

/** The token; undefined for none, and for another scheme. */
export function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length > longest) return undefined;
  return grammar.exec(authorization)?.[1];
}

export class BearerTokens {
  readonly #options: BearerTokensOptions;
  readonly #keyOf = createCredentialKey();
  readonly #good = new LRUCache<string, Bearer>({ max: maxRemembered });
  readonly #checks = new SingleFlight<CheckedToken>();
  /** Counts how often everything was forgotten. */
  #generation = 0;

  constructor(options: BearerTokensOptions) {
    this.#options = options;
  }

  /** Who may prove what has changed: nothing that was found out counts any more, nor what is being found out. */
  forget(): void {
    this.#generation++;
    this.#good.clear();
  }

  /** At once when it is remembered. */
  check(token: string): CheckedToken | Promise<CheckedToken> {
    const key = this.#keyOf(token);
    const good = this.#good.get(key);
    return good !== undefined && this.#options.steady() < good.until
      ? good
      : this.#checks.run(key, () => this.#prove(key, token)).promise;
  }

  /** Milliseconds for which it counts from now on. */
  lastsOf({ until }: Bearer): number {
    return until - this.#options.steady();
  }

  async #prove(key: string, token: string): Promise<CheckedToken> {
    const { prove, clock, steady } = this.#options;
    for (;;) {
      const generation = this.#generation;
      const proved = await prove(token).catch((error: unknown): "down" => {
        if (error instanceof DirectoryDown) return "down";
        throw error;
      });
      if (generation !== this.#generation) continue;
      if (proved === "down") return proved;
      if (proved === undefined) return "bad";
      const { endsAt, ...rest } = proved;
      const bearer = { ...rest, until: steady() + Math.min(rememberedFor, endsAt - clock()) };
      this.#good.set(key, bearer);
      return bearer;
    }
  }
}
