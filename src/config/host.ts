// Host names and networks, as settings about routing, tokens and redirects name them.
import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import type { Parsed } from "./parsed.ts";

/** Underscores are in no host name of the internet, and in many of private networks. */
const hostName = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/;
const onlyDigitsAndDots = /^[\d.]+$/;
const hostAndPort = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/;

function isName(text: string): boolean {
  return hostName.test(text) && !onlyDigitsAndDots.test(text);
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

/** An IP address or a CIDR network (RFC 4632, section 3.1; RFC 4291, section 2.3), in lower case. */
export function parseNetwork(text: string): Parsed<string> {
  const value = text.trim().toLowerCase();
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
