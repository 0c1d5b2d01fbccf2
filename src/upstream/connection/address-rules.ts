// Which addresses a redirect may lead to. Whoever can make upstream answer with a redirect must not be able to aim
// this mirror at the machine and the network it stands in (server-side request forgery).
import ipaddr from "ipaddr.js";

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Network = readonly [network: Address, bits: number];

export interface AddressRules {
  /** Whether the host was listed by name: whatever it resolves to may be connected to. */
  trusts(host: string): boolean;
  /** Whether this IP address may be connected to: a public one, or one that is listed. False for what is none. */
  permits(address: string): boolean;
}

/** All that IANA gives out as global unicast (RFC 4291, section 2.4); special ranges inside it are refused below. */
const globalUnicast = ipaddr.IPv6.parseCIDR("2000::/3");
/** Addresses behind which a translator reaches the IPv4 address in the last four bytes (RFC 6052). */
const translated = ipaddr.IPv6.parseCIDR("64:ff9b::/96");

/** `listed`: hosts, IP addresses and CIDR networks that may be reached although they are not public. */
export function createAddressRules(listed: readonly string[]): AddressRules {
  const networks: Network[] = [];
  const hosts = new Set<string>();
  for (const entry of listed) {
    const network = parseNetwork(entry);
    if (network !== undefined) networks.push(network);
    else hosts.add(bareHost(entry));
  }
  return {
    trusts: (host) => hosts.has(bareHost(host)),
    permits(text) {
      if (!ipaddr.isValid(text)) return false;
      const address = ipaddr.parse(text);
      const target = reached(address);
      return (
        isPublic(target) || networks.some((network) => within(address, network) || within(target, network))
      );
    },
  };
}

function parseNetwork(entry: string): Network | undefined {
  if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry);
  const text = entry.replace(/^\[(.*)\]$/, "$1");
  if (!ipaddr.IPv4.isValidFourPartDecimal(text) && !ipaddr.IPv6.isValid(text)) return undefined;
  const address = ipaddr.process(text);
  return [address, address.kind() === "ipv4" ? 32 : 128];
}

function bareHost(host: string): string {
  return host.toLowerCase().replace(/\.$/, "");
}

/** The IPv4 address that is spoken to when it is written as an IPv6 one. */
function reached(address: Address): Address {
  if (address instanceof ipaddr.IPv4) return address;
  if (address.isIPv4MappedAddress()) return address.toIPv4Address();
  return address.match(translated) ? new ipaddr.IPv4(address.toByteArray().slice(12)) : address;
}

/** Not: private, loopback, link-local, shared (RFC 6598), multicast, reserved, nor a way around through a tunnel. */
function isPublic(address: Address): boolean {
  if (address.range() !== "unicast") return false;
  return address instanceof ipaddr.IPv4 || address.match(globalUnicast);
}

function within(address: Address, [network, bits]: Network): boolean {
  return address.kind() === network.kind() && address.match(network, bits);
}
