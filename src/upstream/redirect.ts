// Where a redirect of upstream may lead (distribution-spec, "Pulling blobs": a 307 to the storage is allowed).
// Location values are never put into messages: presigned URLs are credentials.
import { UpstreamError } from "../ports/upstream.ts";

/** Most redirects followed for one request. */
export const maxRedirects = 5;

export function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

export interface RedirectRules {
  readonly upstream: string;
  /** Whether another origin may be asked: for blobs only. */
  readonly otherOrigins: boolean;
}

/**
 * The URL to ask next, without credentials or fragment. Throws UpstreamError: redirect_refused when it may not be
 * asked, protocol when there is none. Which addresses may be connected to is decided in guarded-connector.ts.
 */
export function redirectTarget(from: URL, location: string | undefined, rules: RedirectRules): URL {
  const fail = (code: "protocol" | "redirect_refused", why: string): never => {
    throw new UpstreamError(code, `upstream ${rules.upstream} redirected ${why}`);
  };
  const refuse = (why: string): never => fail("redirect_refused", why);
  // URL.parse, because the error `new URL` throws carries its input.
  const target = location === undefined ? null : URL.parse(location, from.href);
  if (target === null) return fail("protocol", "to no address");
  if (target.protocol !== "https:" && target.protocol !== "http:") return refuse("to what is not HTTP");
  if (from.protocol === "https:" && target.protocol === "http:") return refuse("from https to http");
  target.username = "";
  target.password = "";
  target.hash = "";
  if (target.origin !== from.origin && !rules.otherOrigins) return refuse("a small request to another host");
  return target;
}
