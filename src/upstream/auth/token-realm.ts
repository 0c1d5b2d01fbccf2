// Which token servers an upstream may name. The answer to a challenge carries our credentials, so a forged challenge must
// not be able to have them sent elsewhere (CVE-2026-33540).
import { getDomain } from "tldts";
import type { UpstreamConfig } from "../../config/config.ts";
import { UpstreamError } from "../../ports/upstream.ts";

/** Longest realm understood, in characters. */
const maxLength = 2048;

/**
 * The URL tokens may be asked for at, without credentials or fragment. It is on upstream's own host and port; or
 * asked over https and on the same registrable domain as upstream (public suffix list, private part included); or
 * named by `tokenRealms`. Never http when upstream is https. Otherwise throws UpstreamError auth, which names the
 * realm's host and what would allow it.
 */
export function tokenRealm(
  { name, url, tokenRealms }: Pick<UpstreamConfig, "name" | "url" | "tokenRealms">,
  text: string,
): URL {
  const refuse = (why: string): never => {
    throw new UpstreamError("auth", `upstream ${name} wants tokens from ${why}; nothing was sent there`);
  };
  const realm = text.length > maxLength ? null : URL.parse(text);
  if (realm === null) return refuse("an address that is none");
  if (realm.protocol !== "https:" && realm.protocol !== "http:") return refuse("what is not HTTP");
  if (url.protocol === "https:" && realm.protocol === "http:") {
    return refuse(`${realm.host} over plain http, but is asked over https itself`);
  }
  const trusted =
    hostAndPort(realm) === hostAndPort(url) ||
    (realm.protocol === "https:" && sameDomain(realm.hostname, url.hostname)) ||
    tokenRealms.some((allowed) => isNamed(realm, allowed));
  if (!trusted) {
    return refuse(
      `${realm.host}, which is not on its own domain: add "${realm.host}" to tokenRealms if it is right`,
    );
  }
  realm.username = "";
  realm.password = "";
  realm.hash = "";
  return realm;
}

function hostAndPort(url: URL): string {
  return `${url.hostname}:${url.port || defaultPort(url)}`;
}

function defaultPort({ protocol }: URL): string {
  return protocol === "https:" ? "443" : "80";
}

/** Addresses and names without a dot have no registrable domain, so they are never the same. */
function sameDomain(a: string, b: string): boolean {
  const domain = getDomain(a, { allowPrivateDomains: true });
  return domain !== null && domain === getDomain(b, { allowPrivateDomains: true });
}

/** An entry without a port means the scheme's own. */
function isNamed(realm: URL, allowed: string): boolean {
  const named = URL.parse(`${realm.protocol}//${allowed}`);
  return named !== null && hostAndPort(named) === hostAndPort(realm);
}
