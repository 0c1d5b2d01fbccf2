// Proxies for connections out of this network, as settings and the usual environment variables name them.
import { Secret } from "../ports/secret.ts";
import { parseDestination, parseHostAndPort } from "./address.ts";
import type { Parsed } from "./units.ts";

/** Where a connection goes through. */
export interface ProxyServer {
  /** Without its account, for people: `http://proxy.example.com:3128`. */
  readonly name: string;
  readonly protocol: "http" | "https" | "socks5";
  /** An IPv6 address in brackets. */
  readonly host: string;
  readonly port: number;
  readonly username: string | undefined;
  readonly password: Secret | undefined;
}

/** The proxies for plain http and for https; undefined for none. */
export interface ProxyConfig {
  readonly http: ProxyServer | undefined;
  readonly https: ProxyServer | undefined;
  /** Where neither is used; in lower case. See `matches` in outbound/proxy.ts. */
  readonly noProxy: readonly string[];
}

/** By scheme, without its colon; 1080 by RFC 1928, the others as URLs have them. */
const schemes: ReadonlyMap<string, readonly [protocol: ProxyServer["protocol"], port: number]> = new Map([
  ["http", ["http", 80]],
  ["https", ["https", 443]],
  ["socks", ["socks5", 1080]],
  ["socks5", ["socks5", 1080]],
  // The proxy resolves names, which is always so here.
  ["socks5h", ["socks5", 1080]],
]);

const expected =
  "http://host:port, https:// or socks5://, with user:password@ before the host if the proxy wants an account";

/** A proxy's URL; `host:port` is an HTTP proxy, as elsewhere. Special characters of the account are percent-encoded. */
export function parseProxy(written: string): Parsed<ProxyServer> {
  const [, scheme = "http", rest = ""] = /^(?:([a-z0-9]+):\/\/)?([^/?#\s\\]+)\/?$/i.exec(written) ?? [];
  const [protocol, usualPort] = schemes.get(scheme.toLowerCase()) ?? [];
  // As http whatever the scheme, since only the hosts of known schemes are checked; and with a port, which it may drop.
  const url = URL.parse(`http://${rest}`);
  if (protocol === undefined || usualPort === undefined || url === null) return { expected };
  const port = Number(/:(\d+)$/.exec(rest)?.[1] ?? usualPort);
  const account = accountOf(url);
  if (port === 0 || account === undefined) return { expected };
  const host = url.hostname;
  return { value: { name: `${protocol}://${host}:${port}`, protocol, host, port, ...account } };
}

/** Undefined for one that no proxy can be shown: RFC 7617 has no colon in a user-id, RFC 1929 255 bytes for each part. */
function accountOf({ username, password }: URL): Pick<ProxyServer, "username" | "password"> | undefined {
  try {
    const [user, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
    const isUsable = !user.includes(":") && [user, secret].every((each) => /^\P{Cc}{0,255}$/u.test(each));
    if (!isUsable || (user === "" && secret !== "")) return undefined;
    if (user === "") return { username: undefined, password: undefined };
    return { username: user, password: new Secret(secret) };
  } catch {
    return undefined;
  }
}

/** An item of `noProxy`: `*`, a name with or without a dot or `*.` before it, an address, or a network. */
export function parseNoProxy(written: string): Parsed<string> {
  const value = written.toLowerCase();
  const bare = value.replace(/^\*?\./, "");
  return value === "*" || "value" in parseHostAndPort(bare) || "value" in parseDestination(value)
    ? { value }
    : { expected: "a host such as registry.example.com, an address, a network such as 10.0.0.0/8, or *" };
}

/** What the variables every program knows say, in small letters before capitals; and those that are no proxy, by name. */
export function usualProxies(env: Readonly<Record<string, string | undefined>>): {
  readonly config: ProxyConfig;
  readonly wrong: string[];
} {
  const wrong: string[] = [];
  const read = (...names: readonly string[]): ProxyServer | undefined => {
    const name = names.flatMap((each) => [each.toLowerCase(), each]).find((each) => env[each]?.trim());
    if (name === undefined) return undefined;
    const parsed = parseProxy(String(env[name]).trim());
    if ("value" in parsed) return parsed.value;
    if (!wrong.includes(name)) wrong.push(name);
    return undefined;
  };
  const items = (env.no_proxy || env.NO_PROXY || "").split(/[\s,]+/).map(parseNoProxy);
  // Other programs pass over what they do not know there, too.
  const noProxy = items.flatMap((each) => ("value" in each ? [each.value] : []));
  const config = { http: read("HTTP_PROXY", "ALL_PROXY"), https: read("HTTPS_PROXY", "ALL_PROXY"), noProxy };
  return { config, wrong };
}

/** Undefined when it has no proxy for anything. */
export function usedProxies(config: ProxyConfig): ProxyConfig | undefined {
  return config.http === undefined && config.https === undefined ? undefined : config;
}

/** What settings say, over what holds without them. `proxy` is for http and https alike. */
export function proxyConfigOf(
  {
    proxy,
    noProxy,
  }: {
    readonly proxy?: ProxyServer | "none" | undefined;
    readonly noProxy?: readonly string[] | undefined;
  },
  otherwise: ProxyConfig,
): ProxyConfig {
  const without = noProxy ?? otherwise.noProxy;
  if (proxy === undefined) return { ...otherwise, noProxy: without };
  const server = proxy === "none" ? undefined : proxy;
  return { http: server, https: server, noProxy: without };
}
