// The path below which clients reach this mirror when a proxy before it serves other things too: what stands before the
// path that this program knows, in everything it gives to clients to come back with.

/** Longest path, in characters. */
const longest = 256;
const grammar = /^(?:\/[A-Za-z0-9._~-]+)+$/;
const dotComponent = /\/\.{1,2}(?:\/|$)/;

/**
 * `/registry` or `/a/b`, without a slash at its end, whether one was written or not; "" for the root. Undefined for what
 * is no such path, as every address with a host is: a client must not be led to it.
 */
export function parseBasePath(text: string): string | undefined {
  const path = text.replace(/\/$/, "");
  if (path === "") return text === "//" ? undefined : "";
  return path.length <= longest && grammar.test(path) && !dotComponent.test(path) ? path : undefined;
}

/** X-Forwarded-Prefix: of several proxies, each has added its part. Undefined when any part is no path. */
export function parseForwardedPrefix(header: string): string | undefined {
  const parts = header.split(",", 8).map((part) => parseBasePath(part.trim()));
  return parts.includes(undefined) ? undefined : parseBasePath(parts.join(""));
}

/** The path below `base`, which begins with a slash; the path itself when it is not below it. */
export function belowBase(path: string, base: string): string {
  if (base === "" || !path.startsWith(base)) return path;
  const rest = path.slice(base.length);
  if (rest === "" || rest.startsWith("?")) return `/${rest}`;
  return rest.startsWith("/") ? rest : path;
}
