// What callers have proved by their own credentials: that they may read a repository, because upstream gave them what they
// asked for. Only upstream makes such a right. It is believed for minutes, and longer only while upstream cannot be asked.
import { LRUCache } from "lru-cache";
import { CallerCredentials } from "../ports/caller-credentials.ts";
import type { Clock } from "../ports/clock.ts";
import { UpstreamError, type UpstreamErrorCode } from "../ports/upstream.ts";
import { isRefusal, nobodysAccount, type Refusal } from "../ports/upstream-answer.ts";
import { Attempts } from "./attempts.ts";
import { basicToken } from "./basic-credentials.ts";
import { createCredentialKey } from "./credential-key.ts";

/** Rights, and refusals, that are remembered. */
const maxRights = 20_000;
const maxRefusals = 10_000;
/** Milliseconds for which a refusal is remembered. */
const refusedFor = 10_000;
/**
 * While upstream cannot be asked a right that was proved before lasts so many milliseconds longer, at most; it is tried to
 * be proved again after each of these.
 */
const longestExtension = 3_600_000;
const extendedFor = 10_000;
/** Proofs of one address (of IPv6 a /64) that upstream took for nobody's, or that are under way. One is forgotten a second. */
const maxAttempts = 256;

/** How upstream fails when it cannot be asked: unlike an answer that is not understood, which says nothing of an outage. */
const outages: ReadonlySet<UpstreamErrorCode> = new Set([
  "unreachable",
  "timeout",
  "truncated",
  "rate_limited",
  "server_error",
  "circuit_open",
  "offline",
  "drill",
]);

/** A right that upstream has confirmed. Times of the steady clock. */
export interface ProvedRight {
  readonly kind: "proved";
  /** When upstream was asked for what it gave. */
  readonly at: number;
  readonly until: number;
}

/** `too_many`: credentials from this address that are nobody's, for now. */
export type Verdict = ProvedRight | Refusal | "too_many";

/** What a caller asks upstream for. */
export interface Asked {
  /** The upstream, and the repository or what else the right is about. */
  readonly scope: string;
  /** What of it. Another thing of it may be there where this one is not. */
  readonly thing: string;
  /** Asks upstream with the credentials. Rejects with UpstreamError. */
  readonly ask: (credentials: CallerCredentials) => Promise<{ readonly kind: "found" } | Refusal>;
}

export interface ProvedRightsOptions {
  /** Milliseconds for which a proof is believed. */
  readonly lifetime: number;
  /** A steady one. */
  readonly clock: Clock;
}

interface Proving {
  readonly thing: string;
  readonly verdict: Promise<Verdict>;
}

export class ProvedRights {
  readonly #clock: Clock;
  readonly #keyOf = createCredentialKey();
  readonly #rights = new LRUCache<string, ProvedRight>({ max: maxRights });
  readonly #refusals: LRUCache<string, Refusal>;
  /** At most one for the same credentials and scope. */
  readonly #proving = new Map<string, Proving>();
  readonly #attempts: Attempts;
  #lifetime: number;
  /** Counts how often refusals were forgotten. */
  #generation = 0;

  constructor({ lifetime, clock }: ProvedRightsOptions) {
    this.#lifetime = lifetime;
    this.#clock = clock;
    this.#attempts = new Attempts(maxAttempts, clock);
    this.#refusals = new LRUCache({
      max: maxRefusals,
      ttl: refusedFor,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** Proofs are believed for so long from now on; what is remembered has to be proved again. */
  believeFor(lifetime: number): void {
    if (lifetime === this.#lifetime) return;
    this.#lifetime = lifetime;
    this.#rights.clear();
  }

  /** Those in an Authorization header; undefined for none, and for another scheme. */
  credentialsIn(authorization: string | undefined): CallerCredentials | undefined {
    const token = basicToken(authorization);
    return token === undefined ? undefined : new CallerCredentials(token, this.#keyOf(token));
  }

  /** Milliseconds for which the right is still believed. */
  left({ until }: ProvedRight): number {
    return until - this.#clock();
  }

  /** Whether the right is believed now, without asking anybody. */
  holds({ identity }: CallerCredentials, scope: string): boolean {
    const right = this.#rights.get(keyOf(identity, scope));
    return right !== undefined && this.left(right) > 0;
  }

  /**
   * Whether the caller has the right, at once when that is remembered. `network`: the address, or the /64, it asks from.
   * Rejects with UpstreamError when upstream cannot say, and no proof of before may be extended.
   */
  check(credentials: CallerCredentials, network: string, asked: Asked): Verdict | Promise<Verdict> {
    const key = keyOf(credentials.identity, asked.scope);
    const right = this.#rights.get(key);
    if (right !== undefined && this.left(right) > 0) return right;
    return this.#prove(key, credentials, network, asked);
  }

  /**
   * As `check` while upstream fails with `error`, without asking it, and for this caller alone: others with the same
   * credentials are judged as before. Rejects with `error` when nothing of before counts.
   */
  async without({ identity }: CallerCredentials, scope: string, error: UpstreamError): Promise<ProvedRight> {
    const key = keyOf(identity, scope);
    const right = this.#rights.get(key);
    const kept = right !== undefined && this.left(right) > 0 ? right : this.#extended(key, error);
    if (kept === undefined) throw error;
    return kept;
  }

  /** Upstream has refused something in the scope to the caller: the right has to be proved again. */
  doubt({ identity }: CallerCredentials, scope: string): void {
    this.#rights.delete(keyOf(identity, scope));
  }

  /** Something was written: what was refused may be there now. */
  forgetRefusals(): void {
    this.#generation++;
    this.#refusals.clear();
  }

  async #prove(key: string, credentials: CallerCredentials, network: string, asked: Asked): Promise<Verdict> {
    const { thing } = asked;
    for (;;) {
      const refusal = this.#refusals.get(key) ?? this.#refusals.get(`${key} ${thing}`);
      if (refusal !== undefined) return refusal;
      const proving = this.#proving.get(key);
      if (proving === undefined) break;
      // An outage is the same for whatever is asked for with the same credentials.
      const verdict = await proving.verdict;
      if (typeof verdict === "string" || !isRefusal(verdict) || isOfAccount(verdict)) return verdict;
      if (proving.thing === thing) return verdict;
    }
    const verdict = this.#ask(key, credentials, network, asked).finally(() => this.#proving.delete(key));
    this.#proving.set(key, { thing, verdict });
    return verdict;
  }

  async #ask(
    key: string,
    credentials: CallerCredentials,
    network: string,
    { thing, ask }: Asked,
  ): Promise<Verdict> {
    if (!this.#attempts.begin(network)) return "too_many";
    let isNobody = false;
    try {
      const at = this.#clock();
      const generation = this.#generation;
      const answer = credentials.readable ? await ask(credentials) : nobodysAccount;
      if (!isRefusal(answer)) {
        const right: ProvedRight = { kind: "proved", at, until: at + this.#lifetime };
        this.#rights.set(key, right);
        return right;
      }
      isNobody = isOfAccount(answer);
      this.#rights.delete(key);
      if (generation === this.#generation) this.#refusals.set(isNobody ? key : `${key} ${thing}`, answer);
      return answer;
    } catch (error) {
      const extended = this.#extended(key, error);
      if (extended === undefined) throw error;
      this.#rights.set(key, extended);
      return extended;
    } finally {
      if (!isNobody) this.#attempts.takeBack(network);
    }
  }

  /** The right of before that outlasts the outage; undefined when there is none, or no outage. */
  #extended(key: string, error: unknown): ProvedRight | undefined {
    const before = this.#rights.get(key);
    if (before === undefined || !(error instanceof UpstreamError) || !outages.has(error.code))
      return undefined;
    const now = this.#clock();
    const until = Math.min(now + extendedFor, before.at + this.#lifetime + longestExtension);
    if (until <= now) return undefined;
    return { ...before, until };
  }
}

/** A caller that shows an upstream's credentials, or none, for one request. */
export class OwnAccount {
  readonly credentials: CallerCredentials | undefined;
  readonly rights: ProvedRights;
  readonly #network: string;

  constructor(rights: ProvedRights, authorization: string | undefined, network: string) {
    this.rights = rights;
    this.credentials = rights.credentialsIn(authorization);
    this.#network = network;
  }

  /** See ProvedRights; undefined without credentials. */
  check(asked: Asked): Verdict | undefined | Promise<Verdict> {
    return this.credentials && this.rights.check(this.credentials, this.#network, asked);
  }

  /** See ProvedRights; undefined without credentials. */
  without(scope: string, error: UpstreamError): undefined | Promise<Verdict> {
    return this.credentials && this.rights.without(this.credentials, scope, error);
  }
}

/** Upstream takes the credentials for nobody's, whatever is asked for. */
function isOfAccount(refusal: Refusal): boolean {
  return refusal.kind === "denied" && refusal.status === 401;
}

/** Neither an HMAC in base64 nor the name of an upstream has a space. */
function keyOf(identity: string, scope: string): string {
  return `${identity} ${scope}`;
}
