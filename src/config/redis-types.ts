// The zod types of settings about Redis and about this node.
import { z } from "zod";
import { parseAddress } from "./address.ts";
import type { Address } from "./config.ts";
import { parseHost } from "./host.ts";
import type { Parsed } from "./parsed.ts";
import { parsedBy } from "./parsed-by.ts";

const usualPort = 6379;
const maxServers = 100;
const aServer = "host:port, such as redis.example.com:6379";

export interface RedisUrl extends Address {
  readonly tls: boolean;
}

/** Nothing but a scheme, a host and a port: the rest has settings of its own, which never print. */
export const url = parsedBy((text): Parsed<RedisUrl> => {
  const value = text.trim();
  if (value.includes("@"))
    return {
      expected:
        "no credentials in the URL: the user belongs in redis.username, the password in the file that redis.passwordFile names",
    };
  const [, scheme = "", place = "", rest = ""] = /^(rediss?):\/\/([^/?#]*)(.*)$/i.exec(value) ?? [];
  if (/^\/\d+$/.test(rest)) return { expected: "no database in the URL: it belongs in redis.db" };
  if (scheme === "" || !/^\/?$/.test(rest))
    return { expected: "redis://host:port, or rediss://host:port for TLS, and nothing after it" };
  const server = parseServer(/:\d+$/.test(place) ? place : `${place}:${usualPort}`);
  return "value" in server ? { value: { ...server.value, tls: scheme.length === 6 } } : server;
});

export const addresses = z
  .array(parsedBy((text) => parseServer(text.trim())))
  .min(1, "at least one host:port")
  .max(maxServers, `at most ${maxServers} items`);

/** An address to connect to: the host and the port are both there. */
function parseServer(text: string): Parsed<Address> {
  const host = text.replace(/:\d+$/, "");
  const address = parseAddress(text);
  if (!("value" in address) || address.value.port === 0 || !("value" in parseHost(host)))
    return { expected: aServer };
  return address;
}

/** Sentinel's own configuration takes these. */
export const master = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[\w.-]{1,128}$/.test(value)
    ? { value }
    : { expected: "a name of letters, digits, dots and dashes, such as mymaster" };
});

/** What an ACL file can hold: no spaces. */
export const username = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[\x21-\x7e]{1,256}$/.test(value) ? { value } : { expected: "a user name without spaces" };
});

/** Without braces, which decide the slot of a key in a Cluster. */
export const prefix = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[^\s{}\p{Cc}]{1,64}$/u.test(value)
    ? { value }
    : { expected: "1 to 64 characters without spaces and braces, such as entrepot:" };
});

export const nodeName = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[\w.-]{1,128}$/.test(value)
    ? { value }
    : { expected: "a name of letters, digits, dots and dashes, such as mirror-1" };
});

/** An origin and nothing more. */
export const nodeAddress = parsedBy((text): Parsed<string> => {
  const value = text.trim().replace(/\/$/, "");
  const parsed = URL.canParse(value) ? new URL(value) : undefined;
  const expected = "http://host:port as the other nodes reach it, such as http://10.0.0.7:5000";
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || /[@?#]/.test(value)) return { expected };
  if (parsed.pathname !== "/" || parsed.hostname === "0.0.0.0" || parsed.hostname === "[::]")
    return { expected };
  return { value: parsed.origin };
});
