// How upstream and the places it names are connected to: directly, or through the proxy that is configured for them. What a
// pool may do, how long connecting may take and what is trusted over TLS is the same either way.
import type { Socket } from "node:net";
import { buildConnector } from "undici";
import type { ProxyServer, UpstreamConfig } from "../../config/config.ts";
import { forwardingProxy, proxyFor } from "../../outbound/proxy.ts";
import { connectToProxy, openTunnel, ProxyError } from "../../outbound/tunnel.ts";
import type { UpstreamError } from "../../ports/upstream.ts";
import type { ConnectOptions } from "./connection-options.ts";
import { type Guard, guardedConnector, refusedHost } from "./guarded-connector.ts";

type Connector = buildConnector.connector;

/** To the configured origin. */
export function ownConnector(
  config: UpstreamConfig,
  { own, foreign }: { readonly own: ConnectOptions; readonly foreign: ConnectOptions },
): Connector {
  return proxied(config, { direct: buildConnector(own), tls: own, trust: foreign.secureContext });
}

/** To addresses that came from outside. A proxy resolves their names, so the rules are held to the names then. */
export function foreignConnector(
  config: UpstreamConfig,
  { foreign }: { readonly foreign: ConnectOptions },
  guard: Guard,
): Connector {
  return proxied(config, {
    direct: guardedConnector(guard, foreign),
    tls: foreign,
    trust: foreign.secureContext,
    refuse: (host) => refusedHost(guard, host),
  });
}

/** For KeptConnections: the proxy that is sent the requests to an origin, if one is. */
export function forwardingOf({ proxy }: UpstreamConfig): (origin: string) => ProxyServer | undefined {
  if (proxy?.http === undefined) return () => undefined;
  return (origin) => forwardingProxy(proxy, new URL(origin));
}

interface Ways {
  readonly direct: Connector;
  /** For TLS with the other end, over the tunnel. */
  readonly tls: ConnectOptions;
  /** For TLS with the proxy itself. */
  readonly trust: ConnectOptions["secureContext"];
  readonly refuse?: (host: string) => UpstreamError | undefined;
}

function proxied({ proxy: config, connectTimeout }: UpstreamConfig, ways: Ways): Connector {
  const { direct, tls, trust, refuse } = ways;
  if (config === undefined) return direct;
  const overTls = buildConnector(tls);
  const options = { timeout: connectTimeout, trust };
  const connect = async (target: buildConnector.Options): Promise<Socket> => {
    const proxy = proxyFor(config, target);
    if (proxy === undefined) return await asPromise(direct, target);
    const refused = refuse?.(target.hostname);
    if (refused !== undefined) throw refused;
    if (forwardingProxy(config, target) !== undefined) return await connectToProxy(proxy, options);
    const began = performance.now();
    const port = Number(target.port) || (target.protocol === "https:" ? 443 : 80);
    const socket = await openTunnel(proxy, target.hostname, port, options);
    if (target.protocol !== "https:") return socket;
    const left = Math.max(1, connectTimeout - (performance.now() - began));
    return await withinTunnel(
      socket,
      left,
      () => asPromise(overTls, { ...target, httpSocket: socket }),
      () => new ProxyError(proxy, `did not connect in ${connectTimeout} ms`, { late: true }),
    );
  };
  return (target, callback) => {
    connect(target).then(
      (socket) => callback(null, socket),
      (error) => callback(error, null),
    );
  };
}

/** Ends the tunnel when the handshake over it takes longer than `left` milliseconds. */
async function withinTunnel(
  tunnel: Socket,
  left: number,
  handshake: () => Promise<Socket>,
  late: () => ProxyError,
): Promise<Socket> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    tunnel.destroy();
  }, left);
  try {
    return await handshake();
  } catch (error) {
    tunnel.destroy();
    throw isLate ? late() : error;
  } finally {
    clearTimeout(timer);
  }
}

function asPromise(connect: Connector, target: buildConnector.Options): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  connect(target, (error, socket) => (error === null ? resolve(socket) : reject(error)));
  return promise;
}
