// Sets of addresses and networks, and addresses in the one spelling they are compared in.
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** The address of a client that is connected over a unix socket, as nginx writes it. */
export const unixPeer = "unix:";

/** A set of addresses and CIDR networks, and `unix:`. A network of IPv4-mapped addresses counts as the IPv4 network. */
export class Networks {
  readonly #list = new BlockList();
  readonly #local: boolean;

  /** Throws the system's error for what is neither an address nor a network. */
  constructor(networks: readonly string[]) {
    this.#local = networks.includes(unixPeer);
    for (const network of networks) {
      if (network === unixPeer) continue;
      const [text = "", length] = network.split("/");
      const address = plainAddress(text);
      const family = isIPv4(address) ? "ipv4" : "ipv6";
      const bits = family === "ipv4" ? 32 : 128;
      const mapped = address === text ? 0 : 96;
      this.#list.addSubnet(address, length === undefined ? bits : Number(length) - mapped, family);
    }
  }

  has(address: string): boolean {
    const family = isIP(address);
    if (family === 0) return this.#local && address === unixPeer;
    return this.#list.check(address, family === 4 ? "ipv4" : "ipv6");
  }
}

/** The address without a zone; an IPv4-mapped address, in any spelling, as IPv4. */
export function plainAddress(text: string): string {
  if (!isIPv6(text)) return text;
  const address = text.replace(/%.*$/, "").toLowerCase();
  const groups = groupsOf(address);
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (!isMapped) return address;
  const [high = 0, low = 0] = groups.slice(6);
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".");
}

/** The eight groups of an IPv6 address without a zone (RFC 4291, section 2.2). */
export function groupsOf(address: string): readonly number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const [, before = "", a = 0, b = 0, c = 0, d = 0] = dotted ?? [];
  const pair = (high: unknown, low: unknown): string => (Number(high) * 256 + Number(low)).toString(16);
  const text = dotted === null ? address : `${before}${pair(a, b)}:${pair(c, d)}`;
  const [left = "", right] = text.split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const [head, tail] = [parse(left), parse(right ?? "")];
  const zeros = right === undefined ? [] : new Array<number>(8 - head.length - tail.length).fill(0);
  return [...head, ...zeros, ...tail];
}
