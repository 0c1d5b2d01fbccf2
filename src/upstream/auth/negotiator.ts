// Chooses how this mirror proves its account to an upstream. It begins with what most upstreams accept at once (Basic, or
// nothing without an account), learns from every challenge, and sends what the last one asked for with every request
// after it.
import { LRUCache } from "lru-cache";
import type { UpstreamConfig } from "../../config/config.ts";
import type { Clock } from "../../ports/clock.ts";
import { SharedCall } from "../../ports/single-flight.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { AccountVerdict } from "./account-checks.ts";
import { type Authorizer, type RefusingAnswer, RepositoryRefused, type TokenScope } from "./authorizer.ts";
import { type Challenge, challengeOf, parseChallenges } from "./challenge.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";
import type { AccessToken, TokenCache, TokenTarget } from "./token-cache.ts";
import { tokenRealm } from "./token-realm.ts";
import { TokenRefused } from "./token-server.ts";

/** Scopes whose challenge is remembered. */
const maxKnown = 1_000;
/** Longest service and scope understood, in characters. */
const maxParameter = 2048;
/** Milliseconds in which the source of an account is not asked again for a better one when it has just had none. */
const renewedFor = 1_000;
/** A token this young, in milliseconds, that does not suffice is not asked for again. */
const freshFor = 10_000;
/** How long it is remembered, in milliseconds, that `/v2/` takes what we send, or did not say what else it wants. */
const acceptedFor = 10 * 60_000;

export interface NegotiatorOptions {
  readonly config: Pick<UpstreamConfig, "name" | "url" | "tokenRealms">;
  readonly credentials: CredentialSource;
  readonly tokens: TokenCache;
  /**
   * Asks `/v2/` of upstream, with this Authorization value, for its WWW-Authenticate values; none when it wants no other
   * credentials.
   */
  readonly challenges: (authorization: string | undefined) => Promise<readonly string[]>;
  /** What upstream's `/v2/` says of an Authorization value. `proven`: a token server has accepted its account. */
  readonly checked: (authorization: string | undefined, proven: boolean) => Promise<AccountVerdict>;
  /** What the token server says of the account. */
  readonly checkedByTokenServer: (
    target: TokenTarget,
    account: Credentials | undefined,
  ) => Promise<AccountVerdict>;
  readonly clock: Clock;
  /** Scopes whose challenge is remembered; 1,000 when left out. */
  readonly maxKnown?: number;
  readonly close: () => Promise<void>;
}

type Server = Pick<TokenTarget, "realm" | "service">;

/** What tokens for a scope are asked for. */
interface Known {
  readonly target: TokenTarget;
  /** The scope to ask for when a token for that one does not suffice. */
  readonly otherScope: string | undefined;
}

export class Negotiator implements Authorizer {
  readonly #options: NegotiatorOptions;
  /** Where upstream's last challenge said tokens are. Upstream itself is no longer sent our password then. */
  #server: Server | undefined;
  /** What was learned of challenges, by the scope expected before them. */
  readonly #known: LRUCache<string, Known>;
  /** Whether the token server of upstream's last challenge gave no token, so that upstream has to be asked for another. */
  #mustAskAgain = false;
  readonly #asking = new SharedCall<void>();
  /** What `/v2/` was last asked with after a 403 or 404, and when. */
  #accepted: { readonly sent: string | undefined; readonly at: number } | undefined;
  /** The account for which there was no better one, and when. */
  #bestAccount: { readonly identity: string; readonly at: number } | undefined;

  constructor(options: NegotiatorOptions) {
    this.#options = options;
    this.#known = new LRUCache({ max: options.maxKnown ?? maxKnown });
  }

  async header(scope: TokenScope): Promise<string | undefined> {
    const account = await this.#options.credentials.read();
    // Some upstreams tell anonymous clients that content does not exist: with nothing to send yet, none is asked for.
    const hasNothing = account?.isIdentityToken && this.#server === undefined;
    if (this.#mustAskAgain || hasNothing) await this.#askForChallenge();
    const target = this.#target(scope);
    if (target !== undefined) return (await this.#token(scope, target, account)).bearer;
    return account?.isIdentityToken ? undefined : account?.basic;
  }

  async refused(
    scope: TokenScope,
    fields: readonly string[],
    sent: string | undefined,
    again = false,
  ): Promise<boolean> {
    const challenges = parseChallenges(fields);
    const bearer = this.#bearerChallenge(challenges);
    const account = await this.#options.credentials.read();
    const before = this.#target(scope);
    if (bearer !== undefined) {
      const target = this.#learn(scope, bearer, before, !this.#isFresh(before, account, sent));
      const other = before === undefined || !isSameTarget(before, target);
      if (again && !other) return false;
      return !sent?.startsWith("Bearer ") || this.#mayTryAgain(before, target, bearer, account, sent);
    }
    if (again) return false;
    if (challengeOf(challenges, "basic") !== undefined) this.#forgetTokens();
    else if (before !== undefined && sent !== undefined) {
      this.#options.tokens.drop(before, account, sent);
      return true;
    } else if (await this.#learnAtVersionCheck(sent)) return true;
    return await this.#hasOtherPassword(account, sent);
  }

  async hidden(scope: TokenScope, sent: string | undefined): Promise<boolean> {
    const { clock, credentials } = this.#options;
    if (sent?.startsWith("Bearer ")) return false;
    if (this.#server === undefined) {
      const since = this.#accepted?.sent === sent ? clock() - (this.#accepted?.at ?? 0) : -1;
      if (since >= 0 && since < acceptedFor) return false;
    }
    // Whatever goes wrong, upstream has answered.
    try {
      if (!(await this.#learnAtVersionCheck(sent))) return false;
      const target = this.#target(scope);
      if (target !== undefined) await this.#options.tokens.get(target, await credentials.read());
      return target !== undefined;
    } catch {
      this.#forgetTokens();
      return false;
    } finally {
      if (this.#server === undefined) this.#accepted = { sent, at: clock() };
    }
  }

  async renewed(scope: TokenScope, sent: string | undefined): Promise<boolean> {
    if (sent === undefined) return false;
    const account = await this.#options.credentials.read();
    const target = this.#target(scope);
    if (target === undefined) return await this.#hasOtherPassword(account, sent);
    const { tokens } = this.#options;
    // Most refusals are about the content, and a token this young would be given again.
    if (this.#isFresh(target, account, sent)) return false;
    tokens.drop(target, account, sent);
    return true;
  }

  async judge({ status, challenges }: RefusingAnswer, sent: string | undefined): Promise<AccountVerdict> {
    const { checked, credentials } = this.#options;
    if (sent === undefined) return status === 401 ? await checked(sent, false) : undefined;
    if (!sent.startsWith("Bearer ")) return await checked(sent, false);
    // A token is renewed before it is judged, so the token server has just accepted its account.
    if (status !== 401) return "accepted";
    const error = this.#bearerChallenge(parseChallenges(challenges))?.parameters.get("error");
    if (error === "insufficient_scope") return "accepted";
    if (error === "invalid_token") return undefined;
    return (await credentials.read()) === undefined ? "accepted" : await checked(sent, true);
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

  #askForChallenge(sent?: string): Promise<void> {
    return this.#asking.run(async () => {
      const challenges = parseChallenges(await this.#options.challenges(sent));
      const bearer = this.#bearerChallenge(challenges);
      if (bearer !== undefined) this.#learnServer(bearer);
      else if (challengeOf(challenges, "basic") !== undefined) this.#forgetTokens();
      else this.#mustAskAgain = false;
    });
  }

  /**
   * Some registries say at `/v2/` only how they want to be asked, as all clients ask there first. Whether they want tokens,
   * which `sent` is not. Rejects with UpstreamError.
   */
  async #learnAtVersionCheck(sent: string | undefined): Promise<boolean> {
    if (this.#server === undefined) await this.#askForChallenge(sent);
    return this.#server !== undefined;
  }

  #target(scope: TokenScope): TokenTarget | undefined {
    const expectedScope = scopeText(scope);
    return (
      this.#known.get(expectedScope)?.target ?? (this.#server && { ...this.#server, scope: expectedScope })
    );
  }

  /** Whether it was a token for this, and one so young that another would be no better. */
  #isFresh(
    target: TokenTarget | undefined,
    account: Credentials | undefined,
    sent: string | undefined,
  ): boolean {
    if (target === undefined || sent === undefined) return false;
    const age = this.#options.tokens.ageOf(target, account, sent);
    return age !== undefined && age < freshFor;
  }

  /** `before`: what was asked for last. `sufficed`: a new token for that may do. */
  #learn(
    scope: TokenScope,
    challenge: Challenge,
    before: TokenTarget | undefined,
    sufficed: boolean,
  ): TokenTarget {
    const server = this.#learnServer(challenge);
    const expectedScope = scopeText(scope);
    const scopes = scopesToAsk(scope, challenge.parameters.get("scope") || expectedScope);
    if (scopes.some(({ length }) => length > maxParameter)) throw this.#tooLong();
    const last = before === undefined ? -1 : scopes.indexOf(before.scope);
    const at = last < 0 || sufficed ? Math.max(last, 0) : (last + 1) % scopes.length;
    const first = scopes[at] as string;
    const otherScope = scopes.find((each) => each !== first);
    const target = { ...server, scope: first };
    this.#known.set(expectedScope, { target, otherScope });
    return target;
  }

  /**
   * A token is preferred to a password where both are offered. Of several token servers the first that may be asked.
   */
  #bearerChallenge(challenges: readonly Challenge[]): Challenge | undefined {
    const offered = challenges.filter(
      ({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"),
    );
    return offered.length < 2 ? offered[0] : (offered.find((each) => this.#mayAsk(each)) ?? offered[0]);
  }

  #mayAsk(challenge: Challenge): boolean {
    try {
      this.#realmOf(challenge);
      return true;
    } catch {
      return false;
    }
  }

  #realmOf({ parameters }: Challenge): URL {
    return tokenRealm(this.#options.config, parameters.get("realm") ?? "");
  }

  #learnServer(challenge: Challenge): Server {
    const realm = this.#realmOf(challenge);
    const { parameters } = challenge;
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
      if (!isSameTarget(before, target)) return true;
      if (this.#isFresh(before, account, sent)) return false;
    }
    tokens.drop(before, account, sent);
    return true;
  }

  async #hasOtherPassword(account: Credentials | undefined, sent: string | undefined): Promise<boolean> {
    if (this.#server !== undefined || account === undefined || account.isIdentityToken) return false;
    if (account.basic !== sent) return true;
    return (await this.#renew(account)) !== undefined;
  }

  /** Another account than the refused one, if there is one by now; asked for once a second at most. */
  async #renew(refused: Credentials): Promise<Credentials | undefined> {
    const { credentials, clock } = this.#options;
    const { identity } = refused;
    const last = this.#bestAccount;
    if (last?.identity === identity && Math.abs(clock() - last.at) < renewedFor) return undefined;
    const renewed = await credentials.renew(refused);
    this.#bestAccount = renewed === undefined ? { identity, at: clock() } : undefined;
    return renewed;
  }

  async #token(
    scope: TokenScope,
    target: TokenTarget,
    account: Credentials | undefined,
  ): Promise<AccessToken> {
    try {
      return await this.#tokenOfAnyAccount(target, account);
    } catch (error) {
      const expectedScope = scopeText(scope);
      const other = this.#known.get(expectedScope)?.otherScope;
      if (other !== undefined && isRefusal(error)) {
        const instead = { ...target, scope: other };
        const token = await this.#tokenOfAnyAccount(instead, account).catch(() => undefined);
        if (token !== undefined) {
          this.#known.set(expectedScope, { target: instead, otherScope: target.scope });
          return token;
        }
      }
      const refusal = error instanceof TokenRefused ? await this.#refusalOf(error, target) : error;
      // The token server may have moved, or upstream may have changed to another scheme.
      if (!(refusal instanceof RepositoryRefused)) this.#mustAskAgain = true;
      throw refusal;
    }
  }

  async #tokenOfAnyAccount(target: TokenTarget, account: Credentials | undefined): Promise<AccessToken> {
    const { tokens } = this.#options;
    try {
      return await tokens.get(target, account);
    } catch (error) {
      const renewed = account && isRefusal(error) ? await this.#renew(account) : undefined;
      if (renewed === undefined) throw error;
      return await tokens.get(target, renewed);
    }
  }

  /** What the token server's refusal comes to: one of the account, or of the repository alone. */
  async #refusalOf(error: TokenRefused, target: TokenTarget): Promise<UpstreamError> {
    const account = await this.#options.credentials.read();
    // Without an account there is none that could be out of date.
    const ofRepository =
      (account === undefined && error.status === 403) ||
      (await this.#options.checkedByTokenServer(target, account)) === "accepted";
    return ofRepository ? new RepositoryRefused(error, error.body) : error;
  }
}

/** The token scope to ask for unless a challenge names another ("Token Scope Documentation"); "" for none. */
function scopeText({ repository, actions = "pull" }: TokenScope): string {
  return repository === undefined ? "" : `repository:${repository}:${actions}`;
}

/**
 * The scopes worth asking for, in order, when a challenge names `named`. It may be the repository's own scope by a longer
 * or shorter name, where upstream stands behind another server. It may also be an example that a registry gives to
 * everyone (`repository:user/image:pull`), for which no token is good.
 */
function scopesToAsk(scope: TokenScope, named: string): string[] {
  const { repository } = scope;
  if (repository === undefined) return [""];
  const names = named.split(" ").map((each) => /^repository(?:\([^)]*\))?:(.+):[^:]*$/.exec(each)?.[1]);
  if (names.includes(repository) || names.every((name) => name === undefined)) return [named];
  const isOurs = names.some((name) => name?.endsWith(`/${repository}`) || repository.endsWith(`/${name}`));
  return isOurs ? [named, scopeText(scope)] : [scopeText(scope), named];
}

/** Whether a token server has refused the account. */
function isRefusal(error: unknown): boolean {
  return error instanceof UpstreamError && error.code === "auth";
}

function isSameTarget(a: TokenTarget, b: TokenTarget): boolean {
  return isSameServer(a, b) && a.scope === b.scope;
}

function isSameServer(a: Server, b: Server): boolean {
  return a.realm.href === b.realm.href && a.service === b.service;
}
