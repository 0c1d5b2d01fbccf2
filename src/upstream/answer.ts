// What an upstream's status and headers mean. Everything that is not an answer becomes an UpstreamError here.
import type { IncomingHttpHeaders } from "node:http";
import { type Digest, parseDigest } from "../oci/digest.ts";
import { bareMediaType } from "../oci/media-type.ts";
import { UpstreamError } from "../ports/upstream.ts";
import {
  type CacheMarks,
  type Refusal,
  type RefusalStatus,
  type RefusalWords,
  type RelayedHeaders,
  refusalStatuses,
} from "../ports/upstream-answer.ts";
import { type AccountVerdict, mayRefuseAccount } from "./auth/account-checks.ts";
import { AccountRefused } from "./auth/authorizer.ts";
import { challengeFields, challengeOf, parseChallenges } from "./auth/challenge.ts";

/**
 * Who sent an answer: the configured registry; or, after a redirect, another registry, which was asked the same question,
 * or a storage, whose address means something to itself only. Neither of the two was sent credentials.
 */
export type Sender = "upstream" | "registry" | "storage";

/** Status and headers, and who sent them. */
export interface ReplyHead {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly sender: Sender;
  /** Host and port of the sender. */
  readonly host: string;
  /** Of a 400, 401 or 403: what is known of our account. */
  readonly account?: AccountVerdict;
}

/** Longest wait asked for with Retry-After that is believed, in seconds. */
const longestRetryAfter = 3600;
/** RFC 9111, section 1.2.2: larger ages mean this one. */
const greatestAge = 2 ** 31;
const longestCacheStatus = 1024;
/** Bytes of an error's message that are passed on. */
const longestMessage = 1024;
const relayedNames = [
  "warning",
  "ratelimit",
  "ratelimit-policy",
  "ratelimit-limit",
  "ratelimit-remaining",
  "ratelimit-reset",
] as const;

const refusedAccount = "refused our account: check its username and password";

/** How registries say that credentials have expired: ECR does so with 403. */
const expired = /\b(?:token|credential|authori[sz]ation|password|session)s?\b.*\bexpired\b/i;

/**
 * Undefined for the statuses in `found`, whatever the answer is labelled as (`doubtOf`); a refusal for 404, 410 and
 * `refusalStatuses`; throws UpstreamError for the rest, and for another web page: it comes from a firewall, a proxy or a
 * sign-in gateway before the registry.
 * `now` is the clock's milliseconds, for Retry-After dates.
 */
export function readStatus(
  upstream: string,
  reply: ReplyHead,
  found: readonly number[],
  now: number,
): Refusal | undefined {
  const { status, headers, sender, host, account } = reply;
  if (found.includes(status)) return undefined;
  const retryAfter = readRetryAfter(headers["retry-after"], now);
  const fail = (code: UpstreamError["code"], text: string): never => {
    throw new UpstreamError(code, `upstream ${upstream} ${text} (status ${status})`, { status, retryAfter });
  };
  if (status === 429) return fail("rate_limited", "asks to slow down");
  if (status === 416) return fail("range_refused", "refused the range asked for");
  if (status === 508)
    return fail("loop", "was led back to itself: mirrors fetch from each other in a circle");
  if (status >= 500) return fail("server_error", "failed");
  if (sender === "storage") {
    // The registry has said that the content exists, so a storage behind it that denies it is broken.
    return fail("server_error", "redirected to a storage that did not deliver");
  }
  if (status === 401 && (account === "accepted" || lacksRights(headers))) return { kind: "denied" };
  if (status !== 401 && isWebPage(headers)) return fail("protocol", webPage);
  if (status === 401 && sender === "registry")
    return fail("auth", `redirected to ${host}, which wants an account: if it is right, set url to it`);
  if (status === 401)
    throw new AccountRefused(`upstream ${upstream} ${refusedAccount} (status ${status})`, {
      status,
      retryAfter,
    });
  const relayed = relayedHeaders(headers);
  if (status === 404 || status === 410) return { kind: "absent", ...relayed };
  if (isRefusalStatus(status)) return { kind: "denied", ...(status === 403 ? {} : { status }), ...relayed };
  return fail("protocol", "gave an answer that is not understood");
}

const webPage = "sent a web page, as sign-in gateways and firewalls do; check its url";

export function isWebPage(headers: IncomingHttpHeaders): boolean {
  return /^(?:text\/html|application\/xhtml\+xml)$/.test(bareMediaType(headers["content-type"]) ?? "");
}

export function isRefusalStatus(status: number): status is RefusalStatus {
  return (refusalStatuses as readonly number[]).includes(status);
}

/**
 * The refusal with the words of its body. Throws UpstreamError: protocol when the body is a web page after all, auth when
 * our account is refused, or the words say that it has expired and it is not known to be accepted.
 */
export function withWords(
  upstream: string,
  refusal: Refusal,
  { status, account }: Pick<ReplyHead, "status" | "account">,
  body: Buffer,
): Refusal {
  const text = body.toString("utf8");
  if (/^\s*<(?:!doctype\s+html|html)\b/i.test(text))
    throw new UpstreamError("protocol", `upstream ${upstream} ${webPage}`, { status });
  const words = wordsOf(text);
  if (refusal.kind === "denied" && mayRefuseAccount(status) && account !== "accepted") {
    const hasExpired = expired.test(words?.message ?? "");
    const why = hasExpired ? "says that our credentials have expired" : refusedAccount;
    if (hasExpired || account === "refused")
      throw new AccountRefused(`upstream ${upstream} ${why} (status ${status})`, { status });
  }
  return words === undefined ? refusal : { ...refusal, words };
}

/**
 * Code and message of the first error (distribution-spec, "Error Codes"); undefined without a message, unless the code is
 * one that counts.
 */
export function wordsOf(text: string): RefusalWords | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { errors } = (json ?? {}) as { errors?: unknown };
  const { code, message } = ((Array.isArray(errors) ? errors[0] : undefined) ?? {}) as {
    code?: unknown;
    message?: unknown;
  };
  if (typeof message !== "string" || message === "")
    return code === "NAME_UNKNOWN" ? { code, message: "repository name not known to registry" } : undefined;
  const known = typeof code === "string" && /^[A-Z][A-Z_]{0,63}$/.test(code);
  return { ...(known ? { code } : {}), message: printable(message) };
}

/** The first 1,024 bytes, cut between characters; control characters, which terminals obey, are escaped as in JSON. */
function printable(message: string): string {
  const visible = message
    .slice(0, longestMessage)
    .toWellFormed()
    .replace(/\p{Cc}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const bytes = Buffer.from(visible);
  if (bytes.length <= longestMessage) return visible;
  return new TextDecoder().decode(bytes.subarray(0, longestMessage), { stream: true });
}

/** Warning and RateLimit headers (RFC 9111, section 5.5; draft-ietf-httpapi-ratelimit-headers). */
function relayedHeaders(headers: IncomingHttpHeaders): { relayed?: RelayedHeaders } {
  const relayed: Record<string, string> = {};
  for (const name of relayedNames) {
    const value: unknown = headers[name];
    const text = Array.isArray(value) ? value.join(", ") : value;
    if (typeof text === "string" && text.length <= 1024 && /^[ -~]+$/.test(text)) relayed[name] = text;
  }
  return Object.keys(relayed).length === 0 ? {} : { relayed };
}

/**
 * Content codings that change bytes (IANA, HTTP Content Coding Registry). Whatever else stands there, such as aws-chunked,
 * binary or nothing, is left of how something was stored once.
 */
const codings: ReadonlySet<string> = new Set(
  "gzip x-gzip deflate compress x-compress br zstd dcb dcz exi pack200-gzip".split(" "),
);

/** Which content coding the headers name that changes bytes. Identity was asked for. */
function codingOf(headers: IncomingHttpHeaders): string | undefined {
  // Several of them come as an array, whatever the type says.
  const names = String(headers["content-encoding"] ?? "").split(",");
  return names.map((name) => name.trim().toLowerCase()).find((name) => codings.has(name));
}

/**
 * What upstream may have sent instead of what was asked for, by the labels of its answer, as a message goes on after
 * upstream's name; undefined when they raise no doubt. The bytes decide: some storages label what is right like that.
 * `digest`: of a blob that was asked for.
 */
export function doubtOf({ headers }: Pick<ReplyHead, "headers">, digest?: Digest): string | undefined {
  if (isWebPage(headers) && (digest === undefined || headers["docker-content-digest"] !== digest))
    return webPage;
  const coding = codingOf(headers);
  return coding && `encoded its answer as ${coding}, unasked`;
}

/** The UpstreamError for an answer whose bytes are what its labels say. */
export function unusable(upstream: string, doubt: string, status: number): UpstreamError {
  return new UpstreamError("protocol", `upstream ${upstream} ${doubt}`, { status });
}

/** Of an answer that has to be a JSON object. Throws UpstreamError protocol when it is what its labels say instead. */
export function refuseUnlessJson(upstream: string, reply: ReplyHead, body: Buffer): void {
  const doubt = doubtOf(reply);
  if (doubt !== undefined && !/^\s*\{/.test(body.toString("latin1", 0, 64)))
    throw unusable(upstream, doubt, reply.status);
}

/** Content-Length in bytes; undefined without one. Throws UpstreamError protocol for anything but digits. */
export function contentLength(upstream: string, headers: IncomingHttpHeaders): number | undefined {
  const text: unknown = headers["content-length"];
  if (text === undefined) return undefined;
  if (typeof text !== "string" || !/^\d{1,15}$/.test(text)) {
    throw new UpstreamError("protocol", `upstream ${upstream} sent a Content-Length that is no number`);
  }
  return Number(text);
}

/**
 * Docker-Content-Digest; undefined without one. What a proxy on the way has repeated is one. Two different ones, or one that is
 * no digest, are UpstreamError protocol.
 */
export function contentDigest(upstream: string, headers: IncomingHttpHeaders): Digest | undefined {
  const [text, ...more] = new Set([headers["docker-content-digest"] ?? []].flat());
  if (text === undefined) return undefined;
  const digest = more.length === 0 ? parseDigest(text) : undefined;
  if (digest === undefined) {
    throw new UpstreamError(
      "protocol",
      `upstream ${upstream} sent a Docker-Content-Digest that is no digest`,
    );
  }
  return digest;
}

/** Part of a blob: from `offset` up to `end` (exclusive), of `size` bytes. */
export interface Part {
  readonly offset: number;
  readonly end: number;
  readonly size: number;
}

/**
 * What `Content-Range: bytes <from>-<last>/<size>` says (RFC 9110, section 14.4); it may be less than was asked for.
 * Throws UpstreamError range_refused when it starts elsewhere, goes beyond `to` (exclusive), has no size, or
 * contradicts itself.
 */
export function contentRange(
  upstream: string,
  headers: IncomingHttpHeaders,
  from: number,
  to = Number.POSITIVE_INFINITY,
): Part {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(headers["content-range"] ?? "");
  const [start, last, size] = match ? match.slice(1).map(Number) : [];
  if (
    start === from &&
    last !== undefined &&
    size !== undefined &&
    last >= start &&
    last < Math.min(size, to)
  )
    return { offset: from, end: last + 1, size };
  throw new UpstreamError("range_refused", `upstream ${upstream} answered another range than asked for`, {
    status: 206,
  });
}

/**
 * Registries with tokens answer 401 where others answer 403: the token is good, but its account may not read this. A
 * token that is not good does not get here, because the client fetches another and asks again (negotiator.ts).
 */
function lacksRights(headers: IncomingHttpHeaders): boolean {
  const challenges = parseChallenges(challengeFields(headers));
  return challengeOf(challenges, "bearer")?.parameters.get("error") === "insufficient_scope";
}

/**
 * Age, Cache-Status, Warning and RateLimit headers of upstream's answer. What cannot be read is left out, and so is
 * what storages and their delivery networks say of an object: it says nothing about the registry's answer.
 */
export function cacheMarks({ headers, sender }: ReplyHead): CacheMarks {
  if (sender === "storage") return {};
  const age = /^\d+$/.test(headers.age ?? "") ? Math.min(Number(headers.age), greatestAge) : undefined;
  const lines: unknown = headers["cache-status"];
  const text = Array.isArray(lines) ? lines.join(", ") : lines;
  const readable = typeof text === "string" && text.length <= longestCacheStatus && /^[ -~]+$/.test(text);
  return {
    ...(age === undefined ? {} : { age }),
    ...(readable ? { cacheStatus: text } : {}),
    ...relayedHeaders(headers),
  };
}

/** Seconds of a Retry-After header, delta or date (RFC 9110, section 10.2.3); at most an hour. */
export function readRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const seconds = /^\d{1,9}$/.test(header) ? Number(header) : Math.ceil((Date.parse(header) - now) / 1000);
  return Number.isNaN(seconds) ? undefined : Math.min(longestRetryAfter, Math.max(0, seconds));
}
