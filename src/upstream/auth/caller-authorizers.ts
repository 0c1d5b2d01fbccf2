// Proves callers to an upstream by their own credentials, each for itself: what one has been given, a token, is never used
// for another.
import { LRUCache } from "lru-cache";
import type { CallerCredentials } from "../../ports/caller-credentials.ts";
import type { Authorizer } from "./authorizer.ts";
import { type CredentialSource, Credentials } from "./credentials.ts";
import type { TokenCache } from "./token-cache.ts";

/** Callers for whom is remembered how upstream wants to be asked. */
const maxCallers = 1_000;

export interface CallerAuthorizersOptions {
  /** Of all callers: a token is found under the account it was given to (token-cache.ts). */
  readonly tokens: TokenCache;
  readonly make: (credentials: CredentialSource) => Authorizer;
  readonly close: () => Promise<void>;
}

export class CallerAuthorizers {
  readonly #options: CallerAuthorizersOptions;
  readonly #authorizers = new LRUCache<string, Authorizer>({ max: maxCallers });

  constructor(options: CallerAuthorizersOptions) {
    this.#options = options;
  }

  of(caller: CallerCredentials): Authorizer {
    const known = this.#authorizers.get(caller.identity);
    if (known !== undefined) return known;
    const { name, password } = caller.reveal();
    const account = new Credentials(name, password);
    const made = this.#options.make({ read: async () => account, renew: async () => undefined });
    this.#authorizers.set(caller.identity, made);
    return made;
  }

  /** Takes over the tokens of another one at the same registry. */
  continue(before: CallerAuthorizers): void {
    this.#options.tokens.continue(before.#options.tokens);
  }

  /** Ends what is under way and closes every connection. */
  async close(): Promise<void> {
    await this.#options.close();
  }
}
