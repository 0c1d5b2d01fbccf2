// Access tokens by what they are for, until shortly before they expire.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../ports/clock.ts";
import { SingleFlight } from "../../ports/single-flight.ts";
import type { Credentials } from "./credentials.ts";

/** An access token. Nothing prints it by accident. */
export class AccessToken {
  /** Milliseconds of our clock: when it came, and until when it is used. */
  readonly receivedAt: number;
  readonly usableUntil: number;
  readonly #text: string;

  constructor(text: string, receivedAt: number, usableUntil: number) {
    this.#text = text;
    this.receivedAt = receivedAt;
    this.usableUntil = usableUntil;
  }

  /** The Authorization value (RFC 6750, section 2.1). */
  get bearer(): string {
    return `Bearer ${this.#text}`;
  }
}

/** What a token is asked for, and where. */
export interface TokenTarget {
  readonly realm: URL;
  readonly service: string | undefined;
  /** Scopes separated by spaces. */
  readonly scope: string;
}

type Fetch = (target: TokenTarget, account: Credentials | undefined) => Promise<AccessToken>;

const maxTokens = 1_000;
/** Bytes of tokens and of what they are for, about. */
const maxBytes = 8 * 1024 * 1024;

/** Fetches each token once, however many wait for it. All of them get a failure, and it is not remembered. */
export class TokenCache {
  readonly #fetch: Fetch;
  readonly #clock: Clock;
  readonly #tokens = new LRUCache<string, AccessToken>({
    max: maxTokens,
    maxSize: maxBytes,
    sizeCalculation: ({ bearer }, key) => 2 * key.length + bearer.length + 200,
  });
  readonly #flights = new SingleFlight<AccessToken>();

  constructor(fetch: Fetch, clock: Clock) {
    this.#fetch = fetch;
    this.#clock = clock;
  }

  async get(target: TokenTarget, account: Credentials | undefined): Promise<AccessToken> {
    const key = tokenKey(target, account);
    const known = this.#tokens.get(key);
    if (known !== undefined && this.#clock() < known.usableUntil) return known;
    const { promise } = this.#flights.run(key, async () => {
      const token = await this.#fetch(target, account);
      this.#tokens.set(key, token);
      return token;
    });
    return await promise;
  }

  /** Takes over the tokens of another one: each is for one account. */
  continue(before: TokenCache): void {
    this.#tokens.load(before.#tokens.dump());
  }

  /** Forgets the token whose Authorization value is `bearer`, and no newer one. */
  drop(target: TokenTarget, account: Credentials | undefined, bearer: string): void {
    const key = tokenKey(target, account);
    if (this.#tokens.get(key)?.bearer === bearer) this.#tokens.delete(key);
  }

  /** Milliseconds since the token with this Authorization value came; undefined when it is not here. */
  ageOf(target: TokenTarget, account: Credentials | undefined, bearer: string): number | undefined {
    const token = this.#tokens.get(tokenKey(target, account));
    return token?.bearer === bearer ? this.#clock() - token.receivedAt : undefined;
  }
}

function tokenKey({ realm, service, scope }: TokenTarget, account: Credentials | undefined): string {
  return JSON.stringify([account?.identity, realm.href, service, scope]);
}
