// The bounds of every connection made on behalf of an upstream.
import type { Pool } from "undici";
import type { UpstreamConfig } from "../config/config.ts";

/** Largest header block read, in bytes. Node's own default is 16 KiB; token and policy headers go beyond. */
const maxHeaderBytes = 64 * 1024;
/** Idle connections are closed before the usual servers do it (Tomcat 20 s, load balancers 60 s). */
const keepAlive = 15_000;

/** Options for undici's pools and agents. */
export function connectionOptions(config: UpstreamConfig): Pool.Options {
  return {
    connections: config.maxConnections,
    pipelining: 1,
    // One TCP connection per transfer: a broken one takes no other transfer with it.
    allowH2: false,
    connectTimeout: config.connectTimeout,
    headersTimeout: config.firstByteTimeout,
    bodyTimeout: config.idleTimeout,
    maxHeaderSize: maxHeaderBytes,
    keepAliveTimeout: keepAlive,
    keepAliveMaxTimeout: 60_000,
  };
}
