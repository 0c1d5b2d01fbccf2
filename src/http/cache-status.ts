// Cache-Status (RFC 9211): what each cache between the registry and the client did with the request, the nearest to
// the client last. All that this mirror says of itself is put together here.
import type { Result, Source } from "../ports/event.ts";

/** An answer made from what the cache holds, or from what upstream has just said. */
export interface Served {
  readonly result: Result;
  readonly source: Source;
  /** Milliseconds until upstream is asked again, below 0 when that is overdue; undefined or endless: not at all. */
  readonly freshFor?: number | undefined;
  /** Upstream was asked although something was here: it had to be confirmed, and may have been replaced. */
  readonly outdated?: boolean | undefined;
  /** Why upstream could not be asked. */
  readonly reason?: { readonly code: string } | undefined;
  /** A write, which no cache answers. */
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

/** Longest Cache-Status of upstream that is passed on, in characters: some twenty caches. */
const longest = 1024;

/**
 * The value of Cache-Status. What other caches said goes first, if it can be read, and only where upstream was asked
 * for this very request: it would not be true of a later one. A list that cannot be read would take our own member
 * along, for a client reads all of it or nothing.
 */
export function cacheStatus(served: Served): string | undefined {
  const said = ownMember(served);
  const before = served.cacheStatus?.trim();
  if (said === undefined || before === undefined || before.length > longest) return said;
  return list.test(before) ? `${before}, ${said}` : said;
}

/** Undefined for what is no answer of a cache. Never `key`, and `stored` only where it is known before the end. */
function ownMember({ result, source, freshFor, outdated, reason, written }: Served): string | undefined {
  switch (result) {
    case "hit":
      return `${own}; hit${ttl(freshFor)}; detail=${source}`;
    case "stale":
      return `${own}; hit${ttl(freshFor)}${reason === undefined ? "" : `; detail=${reason.code}`}`;
    case "revalidated":
      // What RFC 9211 shows as 304: the body is from here. Upstream was asked by HEAD, and said 200.
      return `${forwarded(outdated)}; fwd-status=200; detail=unchanged`;
    case "miss":
      return forwarded(outdated);
    case "joined":
      return `${forwarded(outdated)}; collapsed`;
    case "pass":
      return written === true ? `${own}; fwd=method` : `${forwarded(outdated)}; stored=?0`;
    default:
      return undefined;
  }
}

function forwarded(outdated: boolean | undefined): string {
  return outdated === true ? `${own}; fwd=stale` : `${own}; fwd=uri-miss`;
}

/** In whole seconds; a stale answer has none left, however little it is late. */
function ttl(freshFor: number | undefined): string {
  return freshFor === undefined || !Number.isFinite(freshFor) ? "" : `; ttl=${Math.floor(freshFor / 1000)}`;
}
