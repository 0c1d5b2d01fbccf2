// Connections to where redirects lead. The address is looked at between the name's resolution and the connection,
// so a name that resolves to something else a moment later gains nothing, and nothing is sent to a refused address.
import { lookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { buildConnector } from "undici";
import { UpstreamError } from "../cache/ports.ts";
import type { AddressRules } from "./address-rules.ts";

/**
 * undici's connector, made to refuse addresses the rules do not permit. The connection then fails with UpstreamError
 * redirect_refused.
 */
export function guardedConnector(
  upstream: string,
  rules: AddressRules,
  options: buildConnector.BuildOptions,
): buildConnector.connector {
  const connect = buildConnector({ ...options, lookup: guardedLookup(upstream, rules) });
  return (target, callback) => {
    // For an address nothing is looked up.
    const refused = isIP(target.hostname) !== 0 && !rules.permits(target.hostname);
    if (refused) callback(refusal(upstream, target.hostname), null);
    else connect(target, callback);
  };
}

/** `dns.lookup` without the addresses the rules do not permit; UpstreamError redirect_refused when none is left. */
export function guardedLookup(
  upstream: string,
  rules: AddressRules,
  resolve: typeof lookup = lookup,
): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, "");
      const permitted = rules.trusts(hostname)
        ? addresses
        : addresses.filter(({ address }) => rules.permits(address));
      const [first] = permitted;
      if (first === undefined) return callback(refusal(upstream, hostname), "");
      if (options.all) return callback(null, permitted);
      callback(null, first.address, first.family);
    });
  };
}

/** The host is named because somebody has to list it; the rest of a redirect's address may be a secret. */
function refusal(upstream: string, host: string): UpstreamError {
  const why = "which is in a private network and not listed under redirects.allowPrivate";
  return new UpstreamError("redirect_refused", `upstream ${upstream} redirected to ${host}, ${why}`);
}
