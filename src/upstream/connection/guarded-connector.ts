// Connections to addresses that came from outside: redirects, uploads that go on elsewhere, token servers. The address
// is checked between the name's resolution and the connection, so that a name that resolves to something else a moment
// later does not get around it, and nothing is sent to a refused address.
import { lookup } from "node:dns";
import type { Agent } from "node:http";
import { isIP, type LookupFunction } from "node:net";
import { parse } from "tldts";
import { buildConnector } from "undici";
import { UpstreamError } from "../../ports/upstream.ts";
import type { AddressRules } from "./address-rules.ts";

/** What may be connected to, and how a refusal is worded. */
export interface Guard {
  /** Of the upstream that named the address, for messages. */
  readonly upstream: string;
  readonly rules: AddressRules;
  /** What upstream did: `redirected to`. */
  readonly did: string;
  /** The setting that would allow it. */
  readonly setting: string;
  readonly resolve?: typeof lookup | undefined;
}

/**
 * undici's connector, made to refuse addresses the rules do not permit. The connection then fails with UpstreamError
 * redirect_refused.
 */
export function guardedConnector(
  guard: Guard,
  options: buildConnector.BuildOptions,
): buildConnector.connector {
  const connect = buildConnector({ ...options, lookup: guardedLookup(guard) });
  return (target, callback) => {
    const refused = refusedAddress(guard, target.hostname);
    if (refused !== undefined) callback(refused, null);
    else connect(target, callback);
  };
}

/** The same for Node's own client: the agent, whose requests then fail with UpstreamError redirect_refused. */
export function guardedAgent<A extends Agent>(guard: Guard, agent: A): A {
  const connect = agent.createConnection.bind(agent);
  const find = guardedLookup(guard);
  agent.createConnection = (options, callback) => {
    const refused = refusedAddress(guard, String(options.host));
    if (refused === undefined) return connect({ ...options, lookup: find }, callback);
    // The stream is read only without an error.
    (callback as ((error: Error) => void) | undefined)?.(refused);
    return undefined;
  };
  return agent;
}

/** `dns.lookup` without the addresses the rules do not permit; UpstreamError redirect_refused when none is left. */
export function guardedLookup(guard: Guard): LookupFunction {
  const { rules, resolve = lookup } = guard;
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, "");
      const permitted = rules.trusts(hostname)
        ? addresses
        : addresses.filter(({ address }) => rules.permits(address));
      const [first] = permitted;
      if (first === undefined) return callback(refusal(guard, hostname), "");
      if (options.all) return callback(null, permitted);
      callback(null, first.address, first.family);
    });
  };
}

/** A host that is an address is never looked up, so it is checked as it is written. */
function refusedAddress(guard: Guard, host: string): UpstreamError | undefined {
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  return isIP(bare) !== 0 && !guard.rules.permits(bare) ? refusal(guard, host) : undefined;
}

/**
 * Why a host may not be connected to through a proxy, which resolves its name: an address that the rules do not permit, or a
 * name that is neither listed nor below a suffix under which everybody can have names (public suffix list, ICANN's part), such
 * as `metadata` and `storage.internal`. Undefined when it may.
 */
export function refusedHost(guard: Guard, host: string): UpstreamError | undefined {
  if (isIP(host.replace(/^\[(.*)\]$/, "$1")) !== 0) return refusedAddress(guard, host);
  const { isIcann, domain } = parse(host);
  if (guard.rules.trusts(host) || (isIcann === true && domain !== null)) return undefined;
  const { upstream, did, setting } = guard;
  const why = `which is no public name and not listed under ${setting}`;
  return new UpstreamError("redirect_refused", `upstream ${upstream} ${did} ${host}, ${why}`);
}

/** The message names the host, which an operator may want to list; the rest of the address may be a secret. */
function refusal({ upstream, did, setting }: Guard, host: string): UpstreamError {
  const why = `which is in a private network and not listed under ${setting}`;
  return new UpstreamError("redirect_refused", `upstream ${upstream} ${did} ${host}, ${why}`);
}
