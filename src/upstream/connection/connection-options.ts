// The bounds of every connection made on behalf of an upstream, and what it trusts and shows over TLS.
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import type { buildConnector, Pool } from "undici";
import type { TlsConfig, UpstreamConfig } from "../../config/config.ts";

/** Largest header block read, in bytes. Node's own default is 16 KiB; token and policy headers go beyond. */
const maxHeaderBytes = 64 * 1024;
/** Idle connections are closed before the usual servers do it (Tomcat 20 s, load balancers 60 s). */
const keepAlive = 15_000;

/** How undici connects. */
export type ConnectOptions = NonNullable<Parameters<typeof buildConnector>[0]> & {
  secureContext?: SecureContext;
};

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

export interface TlsContexts {
  /** For the configured origin: with our certificate and key. Undefined for Node's own. */
  readonly own: SecureContext | undefined;
  /**
   * For where redirects lead: trusts the same authorities, since storages behind a private registry have
   * certificates of the same private authority, and shows nothing of ours.
   */
  readonly foreign: SecureContext | undefined;
}

/**
 * Built once: reading the system's certificates anew would cost every connection milliseconds. Throws the system's
 * error when a certificate or key cannot be read.
 */
export function tlsContexts(tls: TlsConfig | undefined): TlsContexts {
  if (tls === undefined) return { own: undefined, foreign: undefined };
  const trust = tls.ca === undefined ? {} : { ca: [...getCACertificates("default"), tls.ca] };
  const identity = {
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
  };
  return {
    own: createSecureContext({ ...trust, ...identity }),
    foreign: tls.ca === undefined ? undefined : createSecureContext(trust),
  };
}
