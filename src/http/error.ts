// The one place where a failure or a refusal becomes a status and an OCI error. 502 and 504 are upstream's fault, 503
// is this node's: a load balancer may retry 503 only (docs/design.md, rule 11).
import type { NotAdmitted } from "../gate/gate.ts";
import { errorBody, type OciErrorCode } from "../oci/error.ts";
import type { RouteProblem } from "../oci/route.ts";
import { StoreError } from "../ports/blobs.ts";
import { BlockedError, blockedText } from "../ports/block/verdict.ts";
import type { Result } from "../ports/event.ts";
import { type Upstream, UpstreamError } from "../ports/upstream.ts";
import { isRepositoryUnknown, type Refusal, type RefusalStatus } from "../ports/upstream-answer.ts";
import type { Exchange } from "./exchange.ts";
import { OverLimit } from "./fair-queue.ts";
import { OverRate } from "./limits/caller-limits.ts";
import { mostMembers } from "./loop.ts";

export interface Failure {
  readonly status: number;
  readonly code: OciErrorCode;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The JSON to send instead of the one made of code and message. */
  readonly body?: string;
}

/** Seconds in Retry-After when upstream names none; and the most, whatever upstream names. */
const retryAfter = 5;
const longestRetryAfter = 60;

/** RFC 7617. Upstream's own challenge is never relayed (docs/design.md, rule 6). */
export const basicChallenge = 'Basic realm="entrepot"';

export const failures = {
  blobUnknown: { status: 404, code: "BLOB_UNKNOWN", message: "blob unknown to registry" },
  manifestUnknown: { status: 404, code: "MANIFEST_UNKNOWN", message: "manifest unknown" },
  repositoryUnknown: { status: 404, code: "NAME_UNKNOWN", message: "repository name not known to registry" },
  notAllowed: { status: 403, code: "DENIED", message: "this mirror is not configured to serve this image" },
  upstreamUnknown: {
    status: 404,
    code: "NAME_UNKNOWN",
    message: "no upstream is configured under this name",
  },
  denied: { status: 403, code: "DENIED", message: "the upstream registry denies access to this repository" },
  unauthorized: {
    status: 401,
    code: "UNAUTHORIZED",
    message: "this mirror asks who you are: log in",
  },
  wrongPassword: {
    status: 401,
    code: "UNAUTHORIZED",
    message: "the user name or the password is wrong",
  },
  badToken: {
    status: 401,
    code: "UNAUTHORIZED",
    message: "the token is none of those taken here, or has ended",
  },
  scopeMissing: {
    status: 401,
    code: "UNAUTHORIZED",
    message: "the token is not for this: log in, or ask for one that is",
  },
  callerRefused: {
    status: 401,
    code: "UNAUTHORIZED",
    message: "the upstream registry does not take this name and password",
    headers: { "www-authenticate": basicChallenge },
  },
  tooManyLogins: {
    status: 429,
    code: "TOOMANYREQUESTS",
    message: "too many failed logins from this address",
    headers: { "retry-after": "1" },
  },
  loginsBusy: {
    status: 503,
    code: "UNAVAILABLE",
    message: "this mirror checks as many passwords as it can",
    headers: { "retry-after": "1" },
  },
  loginsDown: {
    status: 503,
    code: "UNAVAILABLE",
    message: "whoever knows this mirror's users cannot be asked now",
    headers: { "retry-after": "5" },
  },
  forbidden: { status: 403, code: "DENIED", message: "this mirror's rules do not let you do this" },
  readOnly: {
    status: 405,
    code: "UNSUPPORTED",
    message: "this mirror is read-only: push to the upstream registry",
    headers: { allow: "GET, HEAD" },
  },
  unknownMethod: { status: 405, code: "UNSUPPORTED", message: "the endpoint does not know this method" },
  expectation: { status: 417, code: "UNSUPPORTED", message: "the only expectation known is 100-continue" },
  bodyStalled: { status: 408, code: "BLOB_UPLOAD_INVALID", message: "the request's body stopped coming" },
  bodyTooLong: { status: 413, code: "SIZE_INVALID", message: "a manifest has at most 4 MiB" },
  writeRedirected: {
    status: 502,
    code: "UNAVAILABLE",
    message:
      "the upstream registry redirects this write, and it cannot be sent again: push to where it leads",
  },
  draining: {
    status: 503,
    code: "UNAVAILABLE",
    message: "this mirror is shutting down",
    headers: { "retry-after": "1" },
  },
  primaryLost: {
    status: 503,
    code: "UNAVAILABLE",
    message: "the main process of this mirror does not answer",
    headers: { "retry-after": "1" },
  },
  tooManyConnections: {
    status: 503,
    code: "UNAVAILABLE",
    message: "this mirror has as many connections as it has file handles for",
    headers: { "retry-after": "5" },
  },
  noHandles: {
    status: 503,
    code: "UNAVAILABLE",
    message: "this mirror has no file handle or memory left to ask the upstream registry with",
    headers: { "retry-after": "5" },
  },
  tooOften: {
    status: 429,
    code: "TOOMANYREQUESTS",
    message: "more requests a second than this caller may have",
  },
  tooMany: {
    status: 429,
    code: "TOOMANYREQUESTS",
    message: "as many requests of this client wait here as may",
    headers: { "retry-after": "10" },
  },
  late: {
    status: 503,
    code: "UNAVAILABLE",
    message: "the request has waited here as long as it may",
    headers: { "retry-after": "10" },
  },
  referrersUnknown: {
    status: 404,
    code: "MANIFEST_UNKNOWN",
    message: "the upstream registry lists no referrers",
  },
  catalogOff: { status: 404, code: "UNSUPPORTED", message: "the catalog is switched off on this mirror" },
  tooFar: {
    status: 508,
    code: "UNAVAILABLE",
    message: `the request has come through more than ${mostMembers} mirrors: do they fetch from each other?`,
  },
  notCached: {
    status: 504,
    code: "UNAVAILABLE",
    message: "this mirror does not hold this, and the request asks for nothing else (only-if-cached)",
  },
  badRequest: { status: 400, code: "UNSUPPORTED", message: "the request is malformed" },
} as const satisfies Record<string, Failure>;

const notAdmitted: Record<NotAdmitted, Failure> = {
  unknown: failures.unauthorized,
  bad_token: failures.badToken,
  wrong: failures.wrongPassword,
  too_many: failures.tooManyLogins,
  busy: failures.loginsBusy,
  down: failures.loginsDown,
};

/** `challenge` goes with a 401 (RFC 9110, section 15.5.2). */
export function failureOfNotAdmitted(why: NotAdmitted, challenge: string): Failure {
  const failure = notAdmitted[why];
  return failure.status === 401 ? withChallenge(failure, challenge) : failure;
}

/** What the caller's token is limited to does not allow what is asked, or nobody without a name may do it. */
export function failureOfScope(challenge: string): Failure {
  return withChallenge(failures.scopeMissing, challenge);
}

function withChallenge(failure: Failure, challenge: string): Failure {
  return { ...failure, headers: { "www-authenticate": challenge } };
}

/** Of a request whose body is not read to its end: the connection cannot be used again. */
export function withoutBody({ hasBody }: Pick<Exchange, "hasBody">, failure: Failure): Failure {
  return hasBody ? { ...failure, headers: { ...failure.headers, connection: "close" } } : failure;
}

const problems: Record<RouteProblem, Failure> = {
  bad_path: {
    status: 400,
    code: "NAME_INVALID",
    message: "the path has characters or components no name may have",
  },
  bad_name: { status: 400, code: "NAME_INVALID", message: "invalid repository name" },
  bad_reference: { status: 400, code: "TAG_INVALID", message: "neither a valid tag nor a valid digest" },
  bad_digest: {
    status: 400,
    code: "DIGEST_INVALID",
    message: "invalid digest: sha256 or sha512 in lower-case hex",
  },
  bad_page: { status: 400, code: "PAGINATION_NUMBER_INVALID", message: "n must be a whole number from 0" },
  bad_upload: {
    status: 400,
    code: "BLOB_UPLOAD_INVALID",
    message: "no upload session, or arguments that contradict each other or upstream cannot have named",
  },
  unknown: { status: 404, code: "UNSUPPORTED", message: "no such endpoint in the distribution API" },
};

export function failureOfProblem(problem: RouteProblem): Failure {
  return problems[problem];
}

const refusalCodes: Readonly<Record<RefusalStatus, OciErrorCode>> = {
  400: "UNSUPPORTED",
  403: "DENIED",
  406: "MANIFEST_UNKNOWN",
  409: "DENIED",
  412: "DENIED",
  413: "SIZE_INVALID",
  418: "DENIED",
  422: "DENIED",
  423: "DENIED",
  451: "DENIED",
};

/**
 * Upstream's refusal of a read: its status and its own message when it gave one, else `absent` or a message of ours.
 */
export function failureOfRefusal(refusal: Refusal, absent: Failure): Failure {
  const { words } = refusal;
  if (refusal.kind === "absent") {
    if (words === undefined) return absent;
    // oras goes on without referrers unless the repository itself is unknown (docs/clients.md 51).
    const code =
      absent === failures.referrersUnknown && isRepositoryUnknown(refusal) ? "NAME_UNKNOWN" : absent.code;
    return { ...absent, code, message: words.message };
  }
  const status = refusal.status ?? 403;
  if (status === 401) return failures.callerRefused;
  const { code, message } =
    status === 403
      ? failures.denied
      : { code: refusalCodes[status], message: `the upstream registry refuses this (${status})` };
  if (words === undefined) return { status, code, message };
  // Of 403 and 404 clients expect one code each; with any other status upstream's own code is passed on.
  const error = { code: (status === 403 ? undefined : words.code) ?? code, message: words.message };
  return { status, code, message: words.message, body: JSON.stringify({ errors: [error] }) };
}

/** `names`: the mirrors the request has come through since it left this one, this one first. */
export function failureOfCircle(names: readonly string[]): Failure {
  const circle = [...names, names[0]].join(" -> ");
  const message =
    names.length > 1
      ? `mirrors fetch from each other in a circle: ${circle}; check their upstreams' URLs`
      : "this mirror is its own upstream: check the upstream's URL";
  return { status: 508, code: "UNAVAILABLE", message };
}

/** Messages of upstream errors name no URL, header or credential (src/upstream sees to that). */
export function failureOfError(error: unknown): Failure {
  if (error instanceof UpstreamError) return failureOfUpstream(error);
  if (error instanceof OverLimit) return error.code === "late" ? failures.late : failures.tooMany;
  if (error instanceof OverRate)
    return { ...failures.tooOften, headers: { "retry-after": String(error.retryAfter) } };
  if (error instanceof BlockedError) return { ...failures.notAllowed, message: blockedText(error.blocked) };
  if (error instanceof StoreError) {
    return { status: 503, code: "UNAVAILABLE", message: `this mirror's store failed (${error.code})` };
  }
  return { status: 500, code: "UNKNOWN", message: "internal error; see this mirror's log" };
}

function failureOfUpstream(error: UpstreamError): Failure {
  if (error.code === "rate_limited") {
    const message = "the upstream registry limits this mirror's requests";
    return { status: 429, code: "TOOMANYREQUESTS", message, headers: retryAfterHeader(error) };
  }
  if (error.code === "circuit_open") {
    const message = "the upstream registry does not answer at present";
    return { status: 502, code: "UNAVAILABLE", message, headers: retryAfterHeader(error) };
  }
  if (error.code === "offline" || error.code === "drill") return failureOfCut(error.code);
  if (error.code === "layers_missing") {
    const message =
      "this mirror has the manifest but not all of its layers, and the upstream registry does not answer at present";
    return { status: 502, code: "UNAVAILABLE", message, headers: retryAfterHeader(error) };
  }
  if (error.code === "local") return failures.noHandles;
  if (error.code === "not_cached") return failures.notCached;
  if (error.code === "timeout") {
    return { status: 504, code: "UNAVAILABLE", message: "the upstream registry did not answer in time" };
  }
  if (error.code === "loop") {
    const message = "the upstream leads back to this mirror: mirrors fetch from each other in a circle";
    return { status: 508, code: "UNAVAILABLE", message };
  }
  return { status: 502, code: "UNAVAILABLE", message: `the upstream registry failed (${error.code})` };
}

/** The upstream is asked for nothing; see Upstream. */
export function failureOfCut(cut: NonNullable<Upstream["cut"]>): Failure {
  const message =
    cut === "offline"
      ? "only the upstream registry could answer this, and this mirror is configured to ask it for nothing (offline)"
      : "only the upstream registry could answer this, and it counts as away for this client: a drill is on";
  return { status: 502, code: "UNAVAILABLE", message };
}

function retryAfterHeader(error: UpstreamError): { "retry-after": string } {
  const seconds = Math.ceil(error.retryAfter ?? retryAfter);
  return { "retry-after": String(Math.max(1, Math.min(longestRetryAfter, seconds))) };
}

/** A Warning that podman and containerd show their users (distribution-spec, "Warnings"). No quotes in the text. */
export function warning(text: string): string {
  return `299 - "${text}"`;
}

/** How a handler left a request: answered, or with a refusal that another upstream may still turn into an answer. */
export type Outcome = "served" | Refusal;

/** Notes upstream's refusal for the event. It sends nothing: serve.ts answers when no other upstream is left to ask. */
export function refused(exchange: Exchange, refusal: Refusal): Outcome {
  if (refusal.kind === "absent" && refusal.reason !== undefined)
    exchange.always.warning = warning(
      `not asked again: the upstream registry failed (${refusal.reason.code})`,
    );
  exchange.findings.result = refusal.kind === "denied" ? "denied" : refusal.negative ? "negative" : "miss";
  return refusal;
}

/** Answers with the failure. */
export function fail(exchange: Exchange, failure: Failure, result: Result = "error"): void {
  exchange.findings.result = result;
  exchange.findings.detail ??= failure.code;
  exchange.send(
    failure.status,
    {
      ...failure.headers,
      "content-type": "application/json",
      "docker-distribution-api-version": "registry/2.0",
    },
    failure.body ?? errorBody(failure.code, failure.message),
  );
}

/** As `fail`, for whatever was thrown while serving. */
export function failWith(exchange: Exchange, error: unknown): void {
  exchange.findings.detail = detailOf(error);
  if (error instanceof UpstreamError) exchange.findings.upstreamStatus ??= error.status;
  const isNotCached = error instanceof UpstreamError && error.code === "not_cached";
  // Who asks for that has other places to ask, and nothing has failed.
  if (isNotCached) exchange.findings.probe = "only_if_cached";
  if (exchange.headersSent) exchange.cut(error instanceof UpstreamError ? "upstream" : "node");
  else if (isNotCached) fail(exchange, failures.notCached, "negative");
  else fail(exchange, failureOfError(error), isRefusal(error) ? "denied" : "error");
}

/** The client has asked for too much, or for what is given to nobody: nothing has failed. */
function isRefusal(error: unknown): boolean {
  return (
    (error instanceof OverLimit && error.code === "too_many") ||
    error instanceof OverRate ||
    error instanceof BlockedError
  );
}

function detailOf(error: unknown): string {
  if (error instanceof OverLimit) return `over_limit_${error.code}`;
  if (error instanceof OverRate) return "over_rate";
  if (error instanceof BlockedError) return "blocked";
  if (error instanceof UpstreamError || error instanceof StoreError) return error.code;
  return error instanceof Error ? `${error.name}: ${error.message}`.slice(0, 200) : "unknown error";
}
