// What a client is asked to prove, and where it gets the token for it ("Token Authentication Specification" of CNCF
// Distribution; RFC 6750, section 3). There is one challenge in an answer: of two, clients take the one they cannot meet
// (docs/clients.md).
import type { TokenService } from "../../gate/gate.ts";
import type { Route, RouteProblem } from "../../oci/route.ts";
import { basicChallenge } from "../error.ts";
import type { Exchange } from "../exchange.ts";

/** Where this mirror gives tokens. It is no path of a repository, and none of an upstream: each of these has more parts. */
const tokenPath = "/v2/token";

/** The query of a target that asks for a token, without the question mark; undefined for any other target. */
export function tokenQuery(target: string): string | undefined {
  if (!target.startsWith(tokenPath)) return undefined;
  const rest = target.slice(tokenPath.length);
  return rest === "" || rest.startsWith("?") ? rest.slice(1) : undefined;
}

/** Why a token is not enough. */
export type TokenProblem = "invalid_token" | "insufficient_scope";

/** Of what needs no right of its own: undefined. */
export interface NeededScope {
  readonly type: "repository" | "registry";
  readonly name: string;
  readonly actions: string;
}

/**
 * The challenge to this request. Basic without tokens, and where this mirror gives them itself to a client that has not said
 * how it has reached it.
 */
export function challengeTo(
  exchange: Exchange,
  tokens: TokenService | undefined,
  needed: NeededScope | undefined,
  problem?: TokenProblem,
): string {
  const realm = tokens && (tokens.realm ?? ownRealm(exchange));
  if (tokens === undefined || realm === undefined) return basicChallenge;
  let challenge = `Bearer realm="${realm}",service="${tokens.service}"`;
  if (needed !== undefined) challenge += `,scope="${needed.type}:${needed.name}:${needed.actions}"`;
  return problem === undefined ? challenge : `${challenge},error="${problem}"`;
}

function ownRealm(exchange: Exchange): string | undefined {
  const { origin } = exchange;
  return origin === undefined ? undefined : `${origin}${exchange.basePath}${tokenPath}`;
}

/** What a token has to be for: the repository by the client's name for it. */
export function scopeNeeded(
  route: Route | RouteProblem,
  method: string | undefined,
): NeededScope | undefined {
  if (typeof route === "string" || route.kind === "ping") return undefined;
  if (route.kind === "catalog") return { type: "registry", name: "catalog", actions: "*" };
  return { type: "repository", name: route.repository, actions: neededActions[actionOf(route, method)] };
}

const neededActions = { pull: "pull", push: "pull,push", delete: "delete" } as const;

/** A request about an upload is part of a push, whatever its method. */
export function actionOf(route: Route, method: string | undefined): keyof typeof neededActions {
  if (route.kind === "upload") return "push";
  if (method === "GET" || method === "HEAD") return "pull";
  return method === "DELETE" ? "delete" : "push";
}
