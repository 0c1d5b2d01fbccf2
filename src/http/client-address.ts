// The client of a request: the address of its connection or, behind trusted proxies, the one they name. Everything that
// counts by client (limits, logs, the page) uses this address and no other.
import type { IncomingHttpHeaders } from "node:http";
import { isIP, isIPv4, isIPv6 } from "node:net";
import { LRUCache } from "lru-cache";
import { parseForwardedPrefix } from "../oci/base-path.ts";
import { groupsOf, Networks, plainAddress } from "../ports/networks.ts";

export interface Client {
  /**
   * An IPv4-mapped address (`::ffff:10.0.0.1`) as IPv4; "" when the connection was gone before its address was read.
   */
  readonly address: string;
  /**
   * What limits count by: the IPv4 address, or the /64 of an IPv6 address, because one machine may have a whole /64.
   */
  readonly network: string;
  /** The network, as the key of a caller without a name. */
  readonly key: string;
  /** Nothing that this client does is limited. */
  readonly exempt: boolean;
}

export interface ClientAddressesOptions {
  /** Addresses and CIDR networks, and `unix:`, of proxies that are believed when they name the client's address. */
  readonly trustedProxies?: readonly string[];
  /** Addresses and CIDR networks, and `unix:`, of clients that are not limited. */
  readonly exempt?: readonly string[];
}

/** The part of a request that names its client. */
export interface AddressedRequest {
  readonly headers: IncomingHttpHeaders;
  readonly socket: { readonly remoteAddress?: string | undefined };
}

/** Most proxies in a row that are followed. */
const mostHops = 16;
/** Characters of a header that are read, from its end: trusted proxies write no more than that. */
const longestChain = 2048;
/** Addresses, and headers up to a length, for which the client is remembered. */
const remembered = 4096;
const longestRemembered = 128;
/** A name of 255 characters and a port (RFC 9110, section 7.2). */
const longestHost = 261;
const hostGrammar = /^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/;

interface Peer {
  readonly client: Client;
  readonly trusted: boolean;
}

export class ClientAddresses {
  readonly #trusted: Networks;
  readonly #exempt: Networks;
  readonly #peers = new LRUCache<string, Peer>({ max: remembered });
  readonly #chains = new LRUCache<string, Client>({ max: remembered });

  /** Throws the system's error for what is neither an address nor a network. */
  constructor({ trustedProxies = [], exempt = [] }: ClientAddressesOptions = {}) {
    this.#trusted = new Networks(trustedProxies);
    this.#exempt = new Networks(exempt);
  }

  /**
   * The client a request came from. X-Forwarded-For and Forwarded (RFC 7239) count only on connections from a trusted
   * proxy. They are read from the right: the first hop that is no trusted proxy is the client, or the left-most when
   * all are trusted. At a hop that is no address (`unknown`, an obfuscated name) reading stops, and the last proxy
   * before it is taken for the client. When both headers are there and disagree, the client has written one of them, so
   * the address of the connection counts. `address`: who is at the other end of the connection, when its socket does not
   * say so.
   */
  of({ headers, socket }: AddressedRequest, address = socket.remoteAddress ?? ""): Client {
    const peer = this.#peer(address);
    if (!peer.trusted) return peer.client;
    const { forwarded, "x-forwarded-for": list } = headers;
    const chain = typeof list === "string" ? list : list?.join(",");
    if (chain === undefined && forwarded === undefined) return peer.client;
    // A header never has a line break in it, so the parts of the key cannot run into each other.
    const key = `${peer.client.address}\n${chain ?? ""}\n${forwarded ?? ""}`;
    const known = this.#chains.get(key);
    if (known !== undefined) return known;
    const client = this.#peer(this.#believed(peer.client.address, chain, forwarded)).client;
    if (key.length <= longestRemembered) this.#chains.set(key, client);
    return client;
  }

  /**
   * X-Forwarded-Prefix, when a trusted proxy is at the other end of the connection (`address`): the path that it has taken
   * away from the target. Undefined without one, or when it is no path.
   */
  forwardedPrefix(headers: IncomingHttpHeaders, address: string): string | undefined {
    const header = headers["x-forwarded-prefix"];
    if (header === undefined || !this.trusts(address)) return undefined;
    return parseForwardedPrefix(String(header));
  }

  /**
   * Where the client has reached this mirror, `scheme://host:port`: as X-Forwarded-Proto and X-Forwarded-Host or Forwarded
   * say, when a trusted proxy is at the other end of the connection (`address`), and else by the Host header and `scheme`,
   * which the connection itself has. Of several proxies the first has met the client. Undefined for a host that is none.
   */
  originOf(headers: IncomingHttpHeaders, address: string, scheme: "http" | "https"): string | undefined {
    const forwarded = this.trusts(address) ? forwardedPlace(headers) : {};
    const host = (forwarded.host ?? headers.host ?? "").toLowerCase();
    const proto = forwarded.proto?.toLowerCase();
    if (host.length > longestHost || !hostGrammar.test(host)) return undefined;
    return `${proto === "http" || proto === "https" ? proto : scheme}://${host}`;
  }

  /** Whether this is the address of a trusted proxy. */
  trusts(address: string): boolean {
    return this.#peer(address).trusted;
  }

  /** The client with this address, which is known to be its own. */
  named(address: string | readonly string[] | undefined): Client {
    return this.#peer(typeof address === "string" ? address : "").client;
  }

  #believed(peer: string, chain: string | undefined, forwarded: string | undefined): string {
    const first = chain === undefined ? undefined : this.#follow(peer, chain, listedHop);
    const second = forwarded === undefined ? undefined : this.#follow(peer, forwarded, forwardedHop);
    if (first === undefined || second === undefined) return first ?? second ?? peer;
    return first === second ? first : peer;
  }

  /** Reads the hops from the right, as long as the one that wrote the next is trusted. */
  #follow(peer: string, header: string, hopOf: (element: string) => string | undefined): string {
    let believed = peer;
    let rest = header.slice(-longestChain);
    for (let hop = 0; hop < mostHops && this.#trusted.has(believed); hop++) {
      const comma = rest.lastIndexOf(",");
      const address = hopOf(rest.slice(comma + 1));
      if (address === undefined) break;
      believed = address;
      if (comma < 0) break;
      rest = rest.slice(0, comma);
    }
    return believed;
  }

  #peer(text: string): Peer {
    let peer = this.#peers.get(text);
    if (peer === undefined) {
      const address = plainAddress(text);
      const network = networkOf(address);
      const client = { address, network, key: network, exempt: this.#exempt.has(address) };
      peer = { client, trusted: this.#trusted.has(address) };
      this.#peers.set(text, peer);
    }
    return peer;
  }
}

/** An element of X-Forwarded-For: an address, with a port where a proxy adds one. */
function listedHop(element: string): string | undefined {
  const text = element.trim();
  if (isIP(text) !== 0) return plainAddress(text);
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d{1,5})?$/.exec(text) ?? [];
  if (bracketed !== undefined) return isIPv6(bracketed) ? plainAddress(bracketed) : undefined;
  return plain !== undefined && isIPv4(plain) ? plain : undefined;
}

/** RFC 7239, section 4: pairs of token=token or token="quoted". */
const forwardedPair = /\s*([!#$%&'*+.^_`|~\w-]+)=(?:([!#$%&'*+.^_`|~\w-]+)|"((?:[^"\\]|\\.)*)")\s*(;|$)/gy;

/**
 * The pairs of an element of Forwarded, by names in lower case; undefined when it breaks the grammar or has a name twice: the
 * client may have written one of them.
 */
function pairsIn(element: string): ReadonlyMap<string, string> | undefined {
  const pairs = new Map<string, string>();
  forwardedPair.lastIndex = 0;
  for (let end = 0; end < element.length; end = forwardedPair.lastIndex) {
    const [, name, token, quoted] = forwardedPair.exec(element) ?? [];
    if (name === undefined || pairs.has(name.toLowerCase())) return undefined;
    pairs.set(name.toLowerCase(), token ?? quoted?.replaceAll(/\\(.)/g, "$1") ?? "");
  }
  return pairs;
}

/** The address in the `for` of an element of Forwarded; undefined when the element breaks the grammar or names none. */
function forwardedHop(element: string): string | undefined {
  const hop = pairsIn(element)?.get("for");
  // Section 6: an IPv6 address stands in brackets; `unknown` and `_names` are no addresses.
  return hop === undefined || isIPv6(hop) ? undefined : listedHop(hop);
}

/** The scheme and the host of the client's own request, as the first proxy has written them down. */
function forwardedPlace(headers: IncomingHttpHeaders): {
  proto?: string | undefined;
  host?: string | undefined;
} {
  const first = (header: string | readonly string[] | undefined): string | undefined =>
    header === undefined ? undefined : (String(header).slice(0, longestChain).split(",", 1)[0] ?? "").trim();
  const proto = first(headers["x-forwarded-proto"]);
  const host = first(headers["x-forwarded-host"]);
  const element = first(headers.forwarded);
  const pairs =
    proto === undefined && host === undefined && element !== undefined ? pairsIn(element) : undefined;
  return pairs === undefined ? { proto, host } : { proto: pairs.get("proto"), host: pairs.get("host") };
}

/** The first four groups of an IPv6 address, RFC 4291; any other text as it is. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const groups = groupsOf(address).slice(0, 4);
  return `${groups.map((group) => group.toString(16)).join(":")}::/64`;
}
