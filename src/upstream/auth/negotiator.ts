// Chooses how this mirror proves its account to an upstream. It begins with what most upstreams accept at once (Basic, or
// nothing without an account), learns from every challenge, and sends what the last one asked for with every request
// after it.
import { LRUCache } from "lru-cache";
import type { UpstreamConfig } from "../../config/config.ts";
import { SharedCall } from "../../ports/single-flight.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { Authorizer, TokenScope } from "./authorizer.ts";
import { type Challenge, challengeOf, parseChallenges } from "./challenge.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";
import type { AccessToken, TokenCache, TokenTarget } from "./token-cache.ts";
import { tokenRealm } from "./token-realm.ts";

/** Scopes whose challenge is remembered. */
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
  /** Where upstream's last challenge said tokens are. Upstream itself is no longer sent our password then. */
  #server: Server | undefined;
  /** What challenges named, by the scope expected before them. */
  readonly #known = new LRUCache<string, TokenTarget>({ max: maxKnown });
  /** Whether the token server of upstream's last challenge gave no token, so that upstream has to be asked for another. */
  #mustAskAgain = false;
  readonly #asking = new SharedCall<void>();

  constructor(options: NegotiatorOptions) {
    this.#options = options;
  }

  async header(scope: TokenScope): Promise<string | undefined> {
    const account = await this.#options.credentials.read();
    // Some upstreams tell anonymous clients that content does not exist: with nothing to send yet, none is asked for.
    const hasNothing = account?.isIdentityToken && this.#server === undefined;
    if (this.#mustAskAgain || hasNothing) await this.#askForChallenge();
    const target = this.#target(scope);
    if (target !== undefined) return (await this.#token(target, account)).bearer;
    return account?.isIdentityToken ? undefined : account?.basic;
  }

  async refused(scope: TokenScope, fields: readonly string[], sent: string | undefined): Promise<boolean> {
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

  async renewed(scope: TokenScope, sent: string | undefined): Promise<boolean> {
    if (sent === undefined) return false;
    const account = await this.#options.credentials.read();
    const target = this.#target(scope);
    if (target === undefined) return await this.#hasOtherPassword(account, sent);
    const { tokens } = this.#options;
    const age = tokens.ageOf(target, account, sent);
    // Most refusals are about the content, and a token this young would be given again.
    if (age !== undefined && age < freshFor) return false;
    tokens.drop(target, account, sent);
    return true;
  }

  continue(before: Authorizer): void {
    if (!(before instanceof Negotiator)) return;
    this.#server = before.#server;
    this.#mustAskAgain = before.#mustAskAgain;
    this.#known.load(before.#known.dump());
    this.#options.tokens.continue(before.#options.tokens);
  }

  async close(): Promise<void> {
    await this.#options.close();
  }

  #askForChallenge(): Promise<void> {
    return this.#asking.run(async () => {
      const challenges = parseChallenges(await this.#options.challenges());
      const bearer = bearerChallenge(challenges);
      if (bearer !== undefined) this.#learnServer(bearer);
      else if (challengeOf(challenges, "basic") !== undefined) this.#forgetTokens();
      else this.#mustAskAgain = false;
    });
  }

  #target(scope: TokenScope): TokenTarget | undefined {
    const expectedScope = scopeText(scope);
    return this.#known.get(expectedScope) ?? (this.#server && { ...this.#server, scope: expectedScope });
  }

  #learn(scope: TokenScope, challenge: Challenge): TokenTarget {
    const server = this.#learnServer(challenge);
    const expectedScope = scopeText(scope);
    const target = { ...server, scope: challenge.parameters.get("scope") || expectedScope };
    if (target.scope.length > maxParameter) throw this.#tooLong();
    this.#known.set(expectedScope, target);
    return target;
  }

  #learnServer({ parameters }: Challenge): Server {
    const realm = tokenRealm(this.#options.config, parameters.get("realm") ?? "");
    const server = { realm, service: parameters.get("service") };
    if (server.service !== undefined && server.service.length > maxParameter) throw this.#tooLong();
    // The server has moved for the scopes of earlier challenges, too.
    if (this.#server === undefined || !isSameServer(this.#server, server)) this.#known.clear();
    this.#server = server;
    this.#mustAskAgain = false;
    return server;
  }

  #tooLong(): UpstreamError {
    const { name } = this.#options.config;
    return new UpstreamError("auth", `upstream ${name} asks for tokens with more text than is read`);
  }

  #forgetTokens(): void {
    this.#server = undefined;
    this.#mustAskAgain = false;
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
      // The token server may have moved, or upstream may have changed to another scheme.
      this.#mustAskAgain = true;
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

/** The token scope to ask for unless a challenge names another ("Token Scope Documentation"). */
function scopeText({ repository, actions = "pull" }: TokenScope): string {
  return `repository:${repository}:${actions}`;
}

/** A token is preferred to a password where both are offered. */
function bearerChallenge(challenges: readonly Challenge[]): Challenge | undefined {
  return challenges.find(({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"));
}

function isSameServer(a: Server, b: Server): boolean {
  return a.realm.href === b.realm.href && a.service === b.service;
}
