// Which proof of our account an upstream gets. It begins with what most take at once (Basic, or nothing without an
// account), learns from every challenge, and from then on sends what was asked for last, unasked.
import { LRUCache } from "lru-cache";
import { UpstreamError } from "../cache/ports.ts";
import type { UpstreamConfig } from "../config/config.ts";
import type { Authorizer, Scope } from "./authorizer.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";
import type { AccessToken } from "./token-answer.ts";
import type { TokenCache, TokenTarget } from "./token-cache.ts";
import { tokenRealm } from "./token-realm.ts";

/** Repositories whose challenge is remembered. */
const maxKnown = 1_000;
/** Longest service and scope understood, in characters. */
const maxParameter = 2048;
/** A token this young, in milliseconds, that does not suffice is not asked for again. */
const freshFor = 10_000;

export interface NegotiatorOptions {
  readonly config: Pick<UpstreamConfig, "name" | "url" | "tokenRealms">;
  readonly credentials: CredentialSource;
  readonly tokens: TokenCache;
  readonly close: () => Promise<void>;
}

export class Negotiator implements Authorizer {
  readonly #options: NegotiatorOptions;
  /** Upstream wants tokens: it gets our password no more. */
  #wantsTokens = false;
  /** What upstream's last challenge named; foretells the one for a repository not asked for yet. */
  #latest: TokenTarget | undefined;
  /** What upstream's challenges named, by the scope that was foretold. */
  readonly #known = new LRUCache<string, TokenTarget>({ max: maxKnown });

  constructor(options: NegotiatorOptions) {
    this.#options = options;
  }

  async header(scope: Scope): Promise<string | undefined> {
    const account = await this.#options.credentials.read();
    const target = this.#target(scope);
    if (target !== undefined) return (await this.#token(scope, target, account)).bearer;
    return this.#wantsTokens || account?.isIdentityToken ? undefined : account?.basic;
  }

  async refused(scope: Scope, fields: readonly string[], sent: string | undefined): Promise<boolean> {
    const challenges = parseChallenges(fields);
    const bearer = challenges.find(
      ({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"),
    );
    const account = await this.#options.credentials.read();
    const before = this.#target(scope);
    if (bearer !== undefined) {
      const target = this.#learn(scope, bearer);
      return !sent?.startsWith("Bearer ") || this.#mayTryAgain(before, target, bearer, account, sent);
    }
    if (challenges.some(({ scheme }) => scheme === "basic")) this.#forgetTokens();
    else if (before !== undefined && sent !== undefined) {
      this.#options.tokens.drop(before, account, sent);
      return true;
    }
    return await this.#hasOtherPassword(account, sent);
  }

  async close(): Promise<void> {
    await this.#options.close();
  }

  #target(scope: Scope): TokenTarget | undefined {
    const foretold = scopeText(scope);
    return this.#known.get(foretold) ?? (this.#latest && { ...this.#latest, scope: foretold });
  }

  #learn(scope: Scope, { parameters }: Challenge): TokenTarget {
    const { name } = this.#options.config;
    const realm = tokenRealm(this.#options.config, parameters.get("realm") ?? "");
    const foretold = scopeText(scope);
    const target = { realm, service: parameters.get("service"), scope: parameters.get("scope") || foretold };
    if (target.scope.length > maxParameter || (target.service?.length ?? 0) > maxParameter) {
      throw new UpstreamError("auth", `upstream ${name} wants a token for more than can be understood`);
    }
    this.#wantsTokens = true;
    this.#latest = target;
    this.#known.set(foretold, target);
    return target;
  }

  #forgetTokens(): void {
    this.#wantsTokens = false;
    this.#latest = undefined;
    this.#known.clear();
  }

  /** Whether a token unlike the refused one can be had. */
  #mayTryAgain(
    before: TokenTarget | undefined,
    target: TokenTarget,
    { parameters }: Challenge,
    account: Credentials | undefined,
    sent: string,
  ): boolean {
    const { tokens } = this.#options;
    if (before === undefined) return true;
    if (parameters.get("error") === "insufficient_scope") {
      // For what it was made for, the token is still good.
      if (!isSame(before, target)) return true;
      const age = tokens.ageOf(before, account, sent);
      if (age !== undefined && age < freshFor) return false;
    }
    tokens.drop(before, account, sent);
    return true;
  }

  async #hasOtherPassword(account: Credentials | undefined, sent: string | undefined): Promise<boolean> {
    if (this.#wantsTokens || account === undefined || account.isIdentityToken) return false;
    if (account.basic !== sent) return true;
    return (await this.#options.credentials.renew(account)) !== undefined;
  }

  async #token(scope: Scope, target: TokenTarget, account: Credentials | undefined): Promise<AccessToken> {
    try {
      return await this.#tokenOfAnyAccount(target, account);
    } catch (error) {
      // The token server may have moved: the next request goes without a token, to be told where tokens are now.
      if (!(error instanceof UpstreamError && error.code === "rate_limited")) {
        this.#known.delete(scopeText(scope));
        if (this.#latest?.realm.href === target.realm.href) this.#latest = undefined;
      }
      throw error;
    }
  }

  async #tokenOfAnyAccount(target: TokenTarget, account: Credentials | undefined): Promise<AccessToken> {
    const { tokens, credentials } = this.#options;
    try {
      return await tokens.get(target, account);
    } catch (error) {
      const renewed =
        account !== undefined && error instanceof UpstreamError && error.code === "auth"
          ? await credentials.renew(account)
          : undefined;
      if (renewed === undefined) throw error;
      return await tokens.get(target, renewed);
    }
  }
}

/** What a token for the scope is called by who does not name it otherwise ("Token Scope Documentation"). */
function scopeText({ repository }: Scope): string {
  return `repository:${repository}:pull`;
}

function isSame(a: TokenTarget, b: TokenTarget): boolean {
  return a.realm.href === b.realm.href && a.service === b.service && a.scope === b.scope;
}
