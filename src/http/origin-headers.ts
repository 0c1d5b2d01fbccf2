// The headers that tell a client how its answer came about: Cache-Status and Server-Timing.
import { asksUpstream, type Result, type Source } from "../ports/event.ts";

/** Which of the headers answers carry. */
export interface OriginHeaders {
  /** Cache-Status (RFC 9211). */
  readonly cacheStatus: boolean;
  /** Server-Timing (W3C); not sent when left out. */
  readonly serverTiming?: boolean;
}

/** An answer made from what the cache holds, or from what upstream has just said. */
export interface Served {
  readonly result: Result;
  readonly source: Source;
  /** Milliseconds until upstream is asked again, below 0 when that is overdue; undefined or endless: not at all. */
  readonly freshFor?: number | undefined;
  /** Something was stored, but it was outdated, so upstream was asked; its answer may have replaced it. */
  readonly outdated?: boolean | undefined;
  /** Why upstream could not be asked. */
  readonly reason?: { readonly code: string } | undefined;
  /** A part of a blob whose digest is not known yet: nobody but the client can check it. */
  readonly unverified?: true;
  /** The request was a write, which a cache never answers. */
  readonly written?: true;
  /** Cache-Status of upstream's answer to this request. */
  readonly cacheStatus?: string | undefined;
}

const own = "entrepot";

/** RFC 8941, section 3: token and string name a cache; integers, decimals, booleans and bytes are values too. */
const token = "[A-Za-z*][\\w!#$%&'*+.^`|~:/-]*";
const string = '"(?:[ !#-\\[\\]-~]|\\\\["\\\\])*"';
const value = `(?:${token}|${string}|-?\\d{1,15}|-?\\d{1,12}\\.\\d{1,3}|\\?[01]|:[A-Za-z0-9+/=]*:)`;
const memberOf = `(?:${token}|${string})(?:; *[a-z*][a-z0-9_.*-]*(?:=${value})?)*`;
const list = new RegExp(`^${memberOf}(?: *, *${memberOf})*$`);

/** Longest Cache-Status of upstream that is passed on, in characters: enough for some twenty caches. */
const longest = 1024;

/**
 * The value of Cache-Status (RFC 9211): one member for each cache between the registry and the client, the nearest to
 * the client last. The members of upstream's answer are passed on only when upstream was asked for this very request. A
 * list that breaks the grammar is dropped: a client would have to drop our own member with it.
 */
export function cacheStatus(served: Served): string | undefined {
  const said = ownMember(served);
  const before = served.cacheStatus?.trim();
  if (said === undefined || before === undefined || before.length > longest) return said;
  return list.test(before) ? `${before}, ${said}` : said;
}

/**
 * Undefined for a result that is no answer of a cache. `key` is never sent, and `stored` only where it is known before
 * the body has ended.
 */
function ownMember(served: Served): string | undefined {
  const { result, source, freshFor, outdated, reason, written } = served;
  const unverified = served.unverified === true ? "; detail=unverified" : "";
  switch (result) {
    case "hit":
      return `${own}; hit${ttl(freshFor)}${unverified || `; detail=${source}`}`;
    case "stale":
      return `${own}; hit${ttl(freshFor)}${reason === undefined ? "" : `; detail=${reason.code}`}`;
    case "revalidated":
      // RFC 9211 shows a revalidation as 304. This one was a HEAD that upstream answered 200; the body is the stored
      // one.
      return `${forwarded(outdated)}; fwd-status=200; detail=unchanged`;
    case "miss":
      return `${forwarded(outdated)}${unverified}`;
    case "joined":
      return `${forwarded(outdated)}; collapsed${unverified}`;
    case "pass":
      return written === true ? `${own}; fwd=method` : `${forwarded(outdated)}; stored=?0`;
    default:
      return undefined;
  }
}

function forwarded(outdated: boolean | undefined): string {
  return outdated === true ? `${own}; fwd=stale` : `${own}; fwd=uri-miss`;
}

/** In whole seconds, rounded down: a stale answer is never said to be fresh. */
function ttl(freshFor: number | undefined): string {
  return freshFor === undefined || !Number.isFinite(freshFor) ? "" : `; ttl=${Math.floor(freshFor / 1000)}`;
}

/**
 * The value of Server-Timing: the result and, when upstream was asked for it, the milliseconds until the head of the
 * answer could be sent. Browsers and curl show it.
 */
export function serverTiming(result: Result, milliseconds: number): string {
  const cache = `cache;desc=${result}`;
  return asksUpstream(result) ? `${cache}, upstream;dur=${milliseconds.toFixed(1)}` : cache;
}
