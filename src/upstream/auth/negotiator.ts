// Which proof of our account an upstream gets. It begins with what most take at once (Basic, or nothing without an
// account), learns from every challenge, and from then on sends what was asked for last, unasked.
import { LRUCache } from "lru-cache";
import type { UpstreamConfig } from "../../config/config.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { Authorizer, Scope } from "./authorizer.ts";
import { type Challenge, challengeOf, parseChallenges } from "./challenge.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";
import type { AccessToken, TokenCache, TokenTarget } from "./token-cache.ts";
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
  /** Asks upstream, without credentials, for its WWW-Authenticate values; none when it wants no credentials. */
  readonly challenges: () => Promise<readonly string[]>;
  readonly close: () => Promise<void>;
}

type Server = Pick<TokenTarget, "realm" | "service">;

export class Negotiator implements Authorizer {
  readonly #options: NegotiatorOptions;
  /** Where upstream's last challenge said tokens are. From then on it gets our password no more. */
  #server: Server | undefined;
  /** What challenges named, by the scope that was foretold. */
  readonly #known = new LRUCache<string, TokenTarget>({ max: maxKnown });
  /** No token could be had where upstream's last challenge said: it is to be asked again. */
  #doubtful = false;
  #asking: Promise<void> | undefined;

  constructor(options: NegotiatorOptions) {
    this.#options = options;
  }

  async header(scope: Scope): Promise<string | undefined> {
    const account = await this.#options.credentials.read();
    // Who has nothing to send yet must not just ask for content: to strangers some upstreams deny that it exists.
    const hasNothing = account?.isIdentityToken && this.#server === undefined;
    if (this.#doubtful || hasNothing) await this.#askHowToAsk();
    const target = this.#target(scope);
    if (target !== undefined) return (await this.#token(target, account)).bearer;
    return account?.isIdentityToken ? undefined : account?.basic;
  }

  async refused(scope: Scope, fields: readonly string[], sent: string | undefined): Promise<boolean> {
    const challenges = parseChallenges(fields);
    const bearer = bearerChallenge(challenges);
    const account = await this.#options.credentials.read();
    const before = this.#target(scope);
    if (bearer !== undefined) {
      const target = this.#learn(scope, bearer);
      return !sent?.startsWith("Bearer ") || this.#mayTryAgain(before, target, bearer, account, sent);
    }
    if (challengeOf(challenges, "basic") !== undefined) this.#forgetTokens();
    else if (before !== undefined && sent !== undefined) {
      this.#options.tokens.drop(before, account, sent);
      return true;
    }
    return await this.#hasOtherPassword(account, sent);
  }

  async renewed(scope: Scope, sent: string | undefined): Promise<boolean> {
    if (sent === undefined) return false;
    const account = await this.#options.credentials.read();
    const target = this.#target(scope);
    if (target === undefined) return await this.#hasOtherPassword(account, sent);
    const { tokens } = this.#options;
    const age = tokens.ageOf(target, account, sent);
    // Most refusals are about the content: they cost a new token only where that may say something else.
    if (age !== undefined && age < freshFor) return false;
    tokens.drop(target, account, sent);
    return true;
  }

  async close(): Promise<void> {
    await this.#options.close();
  }

  #askHowToAsk(): Promise<void> {
    this.#asking ??= this.#options
      .challenges()
      .then((fields) => {
        const challenges = parseChallenges(fields);
        const bearer = bearerChallenge(challenges);
        if (bearer !== undefined) this.#learnServer(bearer);
        else if (challengeOf(challenges, "basic") !== undefined) this.#forgetTokens();
        else this.#doubtful = false;
      })
      .finally(() => {
        this.#asking = undefined;
      });
    return this.#asking;
  }

  #target(scope: Scope): TokenTarget | undefined {
    const foretold = scopeText(scope);
    return this.#known.get(foretold) ?? (this.#server && { ...this.#server, scope: foretold });
  }

  #learn(scope: Scope, challenge: Challenge): TokenTarget {
    const server = this.#learnServer(challenge);
    const foretold = scopeText(scope);
    const target = { ...server, scope: challenge.parameters.get("scope") || foretold };
    if (target.scope.length > maxParameter) throw this.#tooLong();
    this.#known.set(foretold, target);
    return target;
  }

  #learnServer({ parameters }: Challenge): Server {
    const realm = tokenRealm(this.#options.config, parameters.get("realm") ?? "");
    const server = { realm, service: parameters.get("service") };
    if (server.service !== undefined && server.service.length > maxParameter) throw this.#tooLong();
    // Tokens are elsewhere now, for repositories that were asked for before as well.
    if (this.#server === undefined || !isSameServer(this.#server, server)) this.#known.clear();
    this.#server = server;
    this.#doubtful = false;
    return server;
  }

  #tooLong(): UpstreamError {
    const { name } = this.#options.config;
    return new UpstreamError("auth", `upstream ${name} asks for tokens with more text than is read`);
  }

  #forgetTokens(): void {
    this.#server = undefined;
    this.#doubtful = false;
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
      if (!isSameServer(before, target) || before.scope !== target.scope) return true;
      const age = tokens.ageOf(before, account, sent);
      if (age !== undefined && age < freshFor) return false;
    }
    tokens.drop(before, account, sent);
    return true;
  }

  async #hasOtherPassword(account: Credentials | undefined, sent: string | undefined): Promise<boolean> {
    if (this.#server !== undefined || account === undefined || account.isIdentityToken) return false;
    if (account.basic !== sent) return true;
    return (await this.#options.credentials.renew(account)) !== undefined;
  }

  async #token(target: TokenTarget, account: Credentials | undefined): Promise<AccessToken> {
    try {
      return await this.#tokenOfAnyAccount(target, account);
    } catch (error) {
      // The token server may have moved, or upstream gone over to another scheme.
      this.#doubtful = true;
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
function scopeText({ repository, actions = "pull" }: Scope): string {
  return `repository:${repository}:${actions}`;
}

/** Where several are offered, a token goes before a password. */
function bearerChallenge(challenges: readonly Challenge[]): Challenge | undefined {
  return challenges.find(({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"));
}

function isSameServer(a: Server, b: Server): boolean {
  return a.realm.href === b.realm.href && a.service === b.service;
}
