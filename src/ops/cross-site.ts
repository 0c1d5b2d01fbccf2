// Requests that a web page from elsewhere makes an operator's browser send. Browsers attach the password they know, and reach
// addresses of loopback, so whatever changes something, or takes work to answer, has to be told from them.
import type { IncomingHttpHeaders } from "node:http";

/** What a form of another site cannot send; with fetch it has to ask first (CORS preflight), which is never answered yes. */
export const ownHeader = "x-entrepot-request";

/** Methods that change nothing (RFC 9110, section 9.2.1). */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

export function isSafe(method: string | undefined): boolean {
  return safeMethods.has(method ?? "");
}

/**
 * Why a request that changes something is refused, for people; undefined for one that is not, or changes nothing. It has to
 * have a JSON body or a header of its own, and must not come from a page of another origin: by Sec-Fetch-Site
 * (w3.org/TR/fetch-metadata), which no script can write, or else by Origin, whose host has to be the one asked for. Programs that are
 * no browsers send neither.
 */
export function crossSiteReason(
  method: string | undefined,
  headers: IncomingHttpHeaders,
): string | undefined {
  if (isSafe(method)) return undefined;
  const type = headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase();
  if (type !== "application/json" && headers[ownHeader] === undefined)
    return `a change needs content-type: application/json, or a header ${ownHeader}`;
  const site = headers["sec-fetch-site"];
  if (site !== undefined) return isOwn(site) ? undefined : "a change must not come from another site";
  const { origin, host = "" } = headers;
  if (origin === undefined || (host !== "" && URL.parse(origin)?.host === host.toLowerCase()))
    return undefined;
  return "a change must not come from another site";
}

/**
 * Why a question to the API is refused, for people; undefined for one that is not. A page of another site cannot read the answer,
 * but could have it made again and again. Browsers say where a request comes from to hosts they trust, as loopback is.
 */
export function foreignReason(headers: IncomingHttpHeaders): string | undefined {
  return isOwn(headers["sec-fetch-site"] ?? "none") ? undefined : "the API answers no page of another site";
}

function isOwn(site: string | readonly string[]): boolean {
  return site === "same-origin" || site === "none";
}
