// Node's HTTP client through a proxy: an agent whose connections all go through it.
import { Agent, type AgentOptions } from "node:http";
import { Agent as HttpsAgent, type AgentOptions as HttpsAgentOptions } from "node:https";
import type { Socket } from "node:net";
import type { ProxyConfig, ProxyServer } from "../config/config.ts";
import { proxyFor } from "./proxy.ts";
import { connectToProxy, openTunnel, type TunnelOptions } from "./tunnel.ts";

export interface ProxiedAgentOptions extends TunnelOptions {
  readonly proxy: ProxyServer;
  /** Why this host may not be connected to. */
  readonly refuse?: (host: string) => Error | undefined;
  /** What the request fails with when there is no connection; the ProxyError itself when left out. */
  readonly failure?: (error: unknown) => Error;
}

/** For requests of `protocol`, http: or https:. `options` are Node's. */
export function proxiedAgent(
  protocol: string,
  options: HttpsAgentOptions,
  { proxy, refuse, failure, ...tunnel }: ProxiedAgentOptions,
): Agent {
  const forwards = protocol === "http:" && proxy.protocol !== "socks5";
  // With it Node puts the whole URL and the account into requests of plain http.
  const forwarding: AgentOptions = forwards ? { proxyEnv: { http_proxy: urlWithAccount(proxy) } } : {};
  const agent = protocol === "https:" ? new HttpsAgent(options) : new Agent({ ...options, ...forwarding });
  const connect = agent.createConnection.bind(agent);
  const open = async (host: string, port: number): Promise<Socket> => {
    const refused = refuse?.(host);
    if (refused !== undefined) throw refused;
    return forwards ? await connectToProxy(proxy, tunnel) : await openTunnel(proxy, host, port, tunnel);
  };
  agent.createConnection = (to, callback) => {
    const done = callback as (error: Error | null, socket?: unknown) => void;
    open(String(to.host), Number(to.port)).then(
      (socket) => done(null, protocol === "https:" ? connect({ ...to, socket } as typeof to) : socket),
      (error) => done(failure?.(error) ?? error),
    );
    return undefined;
  };
  return agent;
}

/**
 * What an AWS SDK client connects with: agents with these options, or the one that goes through the proxy for `to`.
 * `timeout`: milliseconds for connecting through it.
 */
export function sdkAgents(
  config: ProxyConfig | undefined,
  to: URL,
  options: HttpsAgentOptions,
  timeout: number,
): SdkAgents {
  const proxy = proxyFor(config, to);
  if (proxy === undefined) return { httpAgent: options, httpsAgent: options };
  const agent = proxiedAgent(to.protocol, options, { proxy, timeout });
  return to.protocol === "https:" ? { httpsAgent: agent as HttpsAgent } : { httpAgent: agent };
}

interface SdkAgents {
  readonly httpAgent?: Agent | AgentOptions;
  readonly httpsAgent?: HttpsAgent | HttpsAgentOptions;
}

function urlWithAccount({ protocol, host, port, username, password }: ProxyServer): string {
  const account =
    username === undefined
      ? ""
      : `${encodeURIComponent(username)}:${encodeURIComponent(password?.reveal() ?? "")}@`;
  return `${protocol}://${account}${host}:${port}`;
}
