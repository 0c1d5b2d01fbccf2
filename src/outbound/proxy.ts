// Which proxy a connection out of this network goes through. Never for this machine itself, whatever is configured.
import ipaddr from "ipaddr.js";
import type { ProxyConfig, ProxyServer } from "../config/config.ts";

/** What is connected to; a URL is one. Without a port it is the scheme's own. */
export type Destination = Pick<URL, "protocol" | "hostname"> & { readonly port?: string };

/** The proxy for a destination; undefined where it is connected to directly. */
export function proxyFor(config: ProxyConfig | undefined, to: Destination): ProxyServer | undefined {
  const proxy = to.protocol === "https:" ? config?.https : config?.http;
  if (config === undefined || proxy === undefined) return undefined;
  const host = bare(to.hostname);
  if (isThisMachine(host)) return undefined;
  const port = to.port || (to.protocol === "https:" ? "443" : "80");
  return config.noProxy.some((entry) => matches(entry, host, port)) ? undefined : proxy;
}

/**
 * The proxy that is itself sent the requests to a destination, with the whole URL in them (absolute-form, RFC 9112,
 * section 3.2.2): an HTTP proxy, for plain http, since many let CONNECT through to port 443 alone. Undefined where requests go
 * to the destination, over whatever connection.
 */
export function forwardingProxy(config: ProxyConfig | undefined, to: Destination): ProxyServer | undefined {
  if (config?.http === undefined || to.protocol !== "http:") return undefined;
  const proxy = proxyFor(config, to);
  return proxy?.protocol === "socks5" ? undefined : proxy;
}

/** `Proxy-Authorization` for an HTTP proxy with an account (RFC 7617); empty for one without. */
export function proxyAuthorization({ username, password }: ProxyServer): Record<string, string> {
  if (username === undefined) return {};
  const account = Buffer.from(`${username}:${password?.reveal() ?? ""}`).toString("base64");
  return { "proxy-authorization": `Basic ${account}` };
}

/** `host:port`, an IPv6 address in brackets. */
export function authorityOf(host: string, port: string | number): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Without the brackets of an IPv6 address and the dot at the end of a name. */
export function bare(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}

function isThisMachine(host: string): boolean {
  if (host === "localhost" || host.endsWith(".localhost")) return true;
  if (!ipaddr.isValid(host)) return false;
  const range = ipaddr.process(host).range();
  return range === "loopback" || range === "unspecified";
}

/**
 * As curl and Go read NO_PROXY: `*`; a name, which stands for all names below it too; an address; a network; each but the
 * first with a port if it has one. Names are not resolved.
 */
function matches(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  if (ipaddr.isValidCIDR(entry)) return isWithin(host, entry);
  // An IPv6 address without brackets has no port.
  const [, name = entry, only] = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(entry) ?? [];
  if (only !== undefined && only !== port) return false;
  const wanted = bare(name.replace(/^\*?\./, ""));
  if (ipaddr.isValid(wanted))
    return ipaddr.isValid(host) && ipaddr.process(host).toString() === ipaddr.process(wanted).toString();
  return host === wanted || host.endsWith(`.${wanted}`);
}

function isWithin(host: string, network: string): boolean {
  if (!ipaddr.isValid(host)) return false;
  const address = ipaddr.process(host);
  const [base, bits] = ipaddr.parseCIDR(network);
  return address.kind() === base.kind() && address.match(base, bits);
}
