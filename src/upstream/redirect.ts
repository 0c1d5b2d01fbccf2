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
  /** Whether another origin may be asked: for content, and not for tokens. */
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
  if (target.origin !== from.origin && !rules.otherOrigins)
    return refuse("a request for a token to another host");
  return target;
}

/** From http to https of the same name, whatever the port: who may answer for the name over TLS may have our account. */
export function isUpgrade(from: URL, to: URL): boolean {
  return from.protocol === "http:" && to.protocol === "https:" && from.hostname === to.hostname;
}

/**
 * What stands before the question in `target` when it is the same question that was asked with `asked`, below `/v2/` of
 * another registry; undefined when it is not, as with the addresses storages have. `question`: what the path of `asked`
 * has after the path of the registry's URL. A trailing slash is left out.
 */
export function registryOf(target: URL, asked: URL, question: string): URL | undefined {
  const path = decoded(target.pathname);
  if (path === undefined || !path.endsWith(question) || target.search !== asked.search) return undefined;
  const registry = new URL(target.origin);
  registry.pathname = path.slice(0, -question.length);
  return registry;
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
