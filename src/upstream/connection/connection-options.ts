// The bounds of every connection made on behalf of an upstream, and what it trusts and shows over TLS.
import type { SecureContext } from "node:tls";
import type { buildConnector, Pool } from "undici";
import type { UpstreamConfig } from "../../config/config.ts";
import { tlsContexts } from "./tls.ts";

/** Largest header block read, in bytes. Node's own default is 16 KiB; token and policy headers go beyond. */
const maxHeaderBytes = 64 * 1024;
/** Idle connections are closed before the usual servers do it (Tomcat 20 s, load balancers 60 s). */
const keepAlive = 15_000;

type ConnectOptions = NonNullable<Parameters<typeof buildConnector>[0]>;

/** Options for undici's pools and agents, all but how they connect. */
export function connectionOptions(config: UpstreamConfig): Pool.Options {
  return {
    connections: config.maxConnections,
    pipelining: 1,
    // One TCP connection per transfer: a broken one takes no other transfer with it.
    allowH2: false,
    headersTimeout: config.firstByteTimeout,
    bodyTimeout: config.idleTimeout,
    maxHeaderSize: maxHeaderBytes,
    keepAliveTimeout: keepAlive,
    keepAliveMaxTimeout: 60_000,
  };
}

/**
 * How to connect to the configured origin (our certificate, the configured server name) and to others (the same
 * authorities, nothing of ours). Throws the system's error for unreadable certificates.
 */
export function connectOptions(config: UpstreamConfig): {
  readonly own: ConnectOptions;
  readonly foreign: ConnectOptions;
} {
  const connect = { timeout: config.connectTimeout, allowH2: false };
  const contexts = tlsContexts(config.tls);
  const serverName = config.tls?.serverName;
  const named = serverName === undefined ? {} : { servername: serverName };
  return {
    own: { ...connect, ...using(contexts.own), ...named },
    foreign: { ...connect, ...using(contexts.foreign) },
  };
}

function using(secureContext: SecureContext | undefined): { secureContext?: SecureContext } {
  return secureContext === undefined ? {} : { secureContext };
}
