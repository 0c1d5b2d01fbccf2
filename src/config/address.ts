// Addresses, host names and networks as settings name them.
import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import type { Address, Bound, ListenPlace } from "../ports/listening.ts";
import type { Parsed } from "./units.ts";

export type { Address, ListenPlace } from "../ports/listening.ts";

const grammar = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/;
const hostName = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/i;
const onlyDigitsAndDots = /^[\d.]+$/;

const anyIPv4 = "0.0.0.0";
const wildcards = new Set(["", anyIPv4, "::"]);

/**
 * `0.0.0.0:5000`, `localhost:5000`, `[::1]:5000` (RFC 3986 section 3.2.2 puts IPv6 in brackets), or `:5000` for
 * every address, IPv6 and IPv4. Port 0 lets the system choose.
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
  const host = plain ?? "";
  const known = host === "" || isIPv4(host) || (hostName.test(host) && !onlyDigitsAndDots.test(host));
  return known ? { value: { host, port } } : { expected: "an IP address or a host name before the port" };
}

/** The form parseAddress reads. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Bytes of the path of a unix socket (unix(7): 108 with its end). */
const longestSocketPath = 107;
/** Who is allowed to connect to a unix socket unless said: its owner and its group. */
const defaultMode = 0o660;

/**
 * What parseAddress reads; `unix:/run/entrepot.sock`, or `unix:/run/entrepot.sock?mode=0666`; `fd://3` for a socket that was
 * open at the start, as systemd passes them from 3 on.
 */
export function parseListenPlace(text: string): Parsed<ListenPlace> {
  const fd = /^fd:\/\/(\d{1,5})$/.exec(text)?.[1];
  if (fd !== undefined)
    return Number(fd) >= 3
      ? { value: { fd: Number(fd) } }
      : { expected: "a descriptor from 3 on, such as fd://3" };
  if (text.startsWith("unix:")) return parseSocketPath(text);
  if (text.startsWith("/")) return { expected: `unix: before the path of a socket: "unix:${text}"` };
  if (/^\*:\d/.test(text)) return { expected: `":${text.slice(2)}" for every address` };
  if (/^[a-z]+:\/\//i.test(text))
    return { expected: "host:port without a scheme, such as :5000 or [::1]:5000" };
  return parseAddress(text);
}

function parseSocketPath(text: string): Parsed<ListenPlace> {
  const [, slashes, rest, mode] = /^unix:(\/*)([^\p{Cc}?]*)(?:\?mode=(0?[0-7]{3}))?$/u.exec(text) ?? [];
  const path = `/${rest}`;
  if (slashes === undefined || slashes === "" || rest === "" || rest?.endsWith("/"))
    return {
      expected: "an absolute path with its permissions if need be, such as unix:/run/entrepot.sock?mode=0660",
    };
  if (Buffer.byteLength(path) > longestSocketPath)
    return {
      expected: `a path of at most ${longestSocketPath} bytes, which is what the system takes for a socket`,
    };
  return { value: { path, mode: mode === undefined ? defaultMode : Number.parseInt(mode, 8) } };
}

/** The form parseListenPlace reads. */
export function formatListenPlace(place: ListenPlace): string {
  if ("fd" in place) return `fd://${place.fd}`;
  if (!("path" in place)) return formatAddress(place);
  return `unix:${place.path}${place.mode === defaultMode ? "" : `?mode=0${place.mode.toString(8)}`}`;
}

/** Where a server listens in fact, for people. */
export function formatBound({ path, ...address }: Bound): string {
  return path === undefined ? formatAddress(address) : `unix:${path}`;
}

/** Whether two listeners cannot be at these places at the same time. */
export function placesCollide(a: ListenPlace, b: ListenPlace): boolean {
  if ("fd" in a || "fd" in b) return "fd" in a && "fd" in b && a.fd === b.fd;
  if ("path" in a || "path" in b) return "path" in a && "path" in b && a.path === b.path;
  if (a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || wildcards.has(a.host) || wildcards.has(b.host);
}

// ---- host names and networks ----------------------------------------------------------------------------------

/** Underscores are in no host name of the internet, and in many of private networks. */
const privateName =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/;
const hostAndPort = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/;

function isName(text: string): boolean {
  return privateName.test(text) && !onlyDigitsAndDots.test(text);
}

function isHost(text: string): boolean {
  return isName(text) || isIPv4(text) || (/^\[.*\]$/.test(text) && isIPv6(text.slice(1, -1)));
}

/** `registry.example.com` or `registry.example.com:8443`, in lower case; an IPv6 address stands in brackets. */
export function parseHostAndPort(text: string): Parsed<string> {
  const value = text.trim().toLowerCase();
  const [, host = "", port] = hostAndPort.exec(value) ?? [];
  return isHost(host) && Number(port ?? 0) <= 65_535
    ? { value }
    : { expected: "a host, with its port if it has one, such as registry.example.com:8443" };
}

/** A host without a port, in lower case. */
export function parseHost(text: string): Parsed<string> {
  const value = text.trim().toLowerCase();
  return isHost(value)
    ? { value }
    : { expected: "a host without a scheme or a port, such as mirror.example.com" };
}

/** A host name, not an address: RFC 6066 section 3 has no other in a TLS server name. In lower case. */
export function parseServerName(text: string): Parsed<string> {
  const value = text.trim().toLowerCase();
  return isName(value) ? { value } : { expected: "a host name, such as registry.example.com" };
}

/**
 * An IP address or a CIDR network (RFC 4632, section 3.1; RFC 4291, section 2.3), in lower case; `unix:` for who is
 * connected over a unix socket.
 */
export function parseNetwork(text: string): Parsed<string> {
  const value = text.trim().toLowerCase();
  if (value === "unix:") return { value };
  const [address = "", length, ...more] = value.split("/");
  const bits = isIPv4(address) ? 32 : 128;
  // A network of IPv4-mapped addresses is one of IPv4, whose prefix begins after 96 bits.
  const least = /^(?:0+:|::)+ffff:/.test(address) ? 96 : 0;
  const fits = length === undefined || (/^\d{1,3}$/.test(length) && +length >= least && +length <= bits);
  return (isIPv4(address) || (isIPv6(address) && !address.includes("%"))) && fits && more.length === 0
    ? { value }
    : { expected: "an IP address or a network, such as 10.0.0.0/8 or 2001:db8::/32" };
}

/** A host name, an IP address or a CIDR network, in lower case. */
export function parseDestination(text: string): Parsed<string> {
  const value = text.trim().toLowerCase();
  return isHost(value) || isIPv6(value) || ipaddr.isValidCIDR(value)
    ? { value }
    : { expected: "a host, an IP address, or a network such as 10.0.0.0/8" };
}

/** Why the system does not let a server listen, by the code of its error. */
export const listenReasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program already listens there",
  EADDRNOTAVAIL: "this machine has no such address",
  EAFNOSUPPORT: "this machine does not speak that kind of address",
  EACCES: "this user may not; ports below 1024 are often reserved for root",
  ENOTFOUND: "the host name is not known",
  EAI_AGAIN: "the host name cannot be looked up now",
};
