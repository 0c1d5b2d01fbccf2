// The base URL of a registry: what stands before `/v2/`.
import type { Parsed } from "./parsed.ts";
import { quote } from "./problem.ts";

/**
 * An http or https URL whose path is kept without its trailing slash. Refuses credentials (they belong in settings
 * that never print), a query, a fragment, and a path that ends in `/v2`, which every request adds itself.
 */
export function parseUpstreamUrl(text: string): Parsed<URL> {
  const url = /^https?:\/\/[^\s\\]+$/i.test(text) ? URL.parse(text) : null;
  if (url === null) {
    return { expected: "an http or https URL with its scheme, such as https://registry.example.com" };
  }
  // Even an @ in the path: a password with a slash in it looks like that.
  if (text.includes("@")) {
    return { expected: "no credentials in the URL: they belong in username and password" };
  }
  if (text.includes("?") || text.includes("#")) return { expected: "a URL without a query or a fragment" };
  url.pathname = url.pathname.replace(/\/+$/, "");
  if (/\/v2$/i.test(url.pathname)) {
    return {
      expected:
        "the URL without /v2 at its end: it is the address before /v2/, which is added to every request",
    };
  }
  return { value: url };
}

/** The URL fit for a message: not at all when it may hold credentials, and never a query or fragment. */
export function describeUrl(text: string): string {
  const colonsOfSchemeAndPort = /:(?:\/\/|\d{1,5}(?=\/|$))/g;
  if (/[@:]/.test(text.replace(colonsOfSchemeAndPort, "")))
    return "a value that may hold a password (not shown)";
  return quote(text.replace(/[?#].*$/s, (rest) => `${rest.charAt(0)}...`));
}
