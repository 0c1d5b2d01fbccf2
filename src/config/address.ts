// Addresses to listen on.
import { isIPv4, isIPv6 } from "node:net";
import type { Address } from "./config.ts";
import type { Parsed } from "./parsed.ts";

const grammar = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/;
const hostName = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/i;
const onlyDigitsAndDots = /^[\d.]+$/;

const anyIPv4 = "0.0.0.0";
const wildcards = new Set([anyIPv4, "::"]);

/**
 * `0.0.0.0:5000`, `localhost:5000`, `[::1]:5000` (RFC 3986 section 3.2.2 puts IPv6 in brackets), or `:5000` for
 * every IPv4 address. Port 0 lets the system choose.
 */
export function parseAddress(text: string): Parsed<Address> {
  if (/^\d+$/.test(text)) return { expected: `a colon before a port that stands alone: ":${text}"` };
  if (isIPv6(text)) return { expected: "an IPv6 address in brackets with a port, such as [::1]:5000" };
  const [, bracketed, plain, digits] = grammar.exec(text) ?? [];
  if (digits === undefined) return { expected: "host:port, such as 0.0.0.0:5000, :5000 or [::1]:5000" };
  const port = Number(digits);
  if (port > 65_535) return { expected: "a port from 0 to 65535" };
  if (bracketed !== undefined) {
    return isIPv6(bracketed)
      ? { value: { host: bracketed, port } }
      : { expected: "an IPv6 address in the brackets" };
  }
  const host = plain === undefined || plain === "" ? anyIPv4 : plain;
  const known = isIPv4(host) || (hostName.test(host) && !onlyDigitsAndDots.test(host));
  return known ? { value: { host, port } } : { expected: "an IP address or a host name before the port" };
}

/** The form parseAddress reads. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether two listeners cannot have these addresses at the same time. */
export function addressesCollide(a: Address, b: Address): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || wildcards.has(a.host) || wildcards.has(b.host);
}
