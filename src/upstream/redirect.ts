// Where a redirect of upstream may lead (distribution-spec, "Pulling blobs": a 307 to the storage is allowed).
// Location values are never put into messages: presigned URLs are credentials.
import { UpstreamError } from "../cache/ports.ts";

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

/** The URL to ask next, without credentials or fragment. Throws UpstreamError protocol when it may not be asked. */
export function redirectTarget(from: URL, location: string | undefined, rules: RedirectRules): URL {
  const refuse = (why: string): never => {
    throw new UpstreamError("protocol", `upstream ${rules.upstream} redirected ${why}`);
  };
  // URL.parse, because the error `new URL` throws carries its input.
  const target = location === undefined ? null : URL.parse(location, from.href);
  if (target === null) return refuse("to no address");
  if (target.protocol !== "https:" && target.protocol !== "http:") return refuse("to what is not HTTP");
  if (from.protocol === "https:" && target.protocol === "http:") return refuse("from https to http");
  target.username = "";
  target.password = "";
  target.hash = "";
  if (target.origin !== from.origin) {
    if (!rules.otherOrigins) return refuse("a small request to another host");
    // The place for refusing private and link-local addresses and for an allow-list of hosts: here by name, and in
    // the connector of the foreign agent (client.ts) by the address the name resolves to.
  }
  return target;
}
