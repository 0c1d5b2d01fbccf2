// The connections to one upstream and to where it redirects.
import { Agent, type buildConnector, Client, Pool } from "undici";
import type { ProxyServer, UpstreamConfig } from "../../config/config.ts";
import { apiPath } from "../../oci/api-url.ts";
import { proxyRefusal } from "../../outbound/tunnel.ts";
import { viaOf } from "../../ports/via.ts";
import { userAgent } from "../../version.ts";
import { discard } from "../body.ts";
import { createAddressRules } from "./address-rules.ts";
import { connectionOptions, connectOptions } from "./connection-options.ts";
import { forwarded } from "./dispatch.ts";
import { KeptConnections, watched } from "./kept-connections.ts";
import { foreignConnector, forwardingOf, ownConnector } from "./proxied-connector.ts";

/** Thirty years, in milliseconds: connections end for other reasons, but without a limit undici ignores a client's age. */
const clientTtl = 1e12;

/** Other origins connected to at once, after redirects. */
const maxForeignOrigins = 16;

export class Connections {
  /** To the configured origin. */
  readonly own: KeptConnections;
  /** To every other origin; requests through it never carry credentials. */
  readonly foreign: KeptConnections;
  readonly #url: URL;
  readonly #options: Client.Options;
  readonly #connector: TimedConnector;
  readonly #headers: Readonly<Record<string, string>>;
  /** The proxy that is sent the requests themselves. */
  readonly #forwarder: ProxyServer | undefined;

  /** Connects to nothing before the first request. Throws the system's error for unreadable certificates. */
  constructor(config: UpstreamConfig, pseudonym: string) {
    this.#headers = { "user-agent": userAgent, via: viaOf(pseudonym) };
    this.#url = config.url;
    const options = connectionOptions(config);
    const connect = connectOptions(config);
    const rules = createAddressRules(config.redirectsTo);
    const guard = { upstream: config.name, rules, did: "redirected to", setting: "redirectsTo" };
    const { connections: _, ...ofClient } = options;
    this.#connector = new TimedConnector(ownConnector(config, connect));
    const forwarding = forwardingOf(config);
    this.#forwarder = forwarding(config.url.origin);
    this.#options = { ...ofClient, connect: watched(this.#connector.connect) };
    this.own = new KeptConnections(() => {
      const pool = new Pool(config.url.origin, {
        ...this.#options,
        connections: config.maxConnections,
        clientTtl,
      });
      // undici gives a request to the first client that is not busy, even to one whose connection ended with a transfer
      // that was cut off, while others idle on theirs: the request would pay for a handshake. A client past its ttl is
      // not given another.
      return pool.on(
        "disconnect",
        (_origin, targets) => void Object.assign(targets.at(-1) ?? {}, { ttl: 1 }),
      );
    }, forwarding);
    const toForeign = watched(foreignConnector(config, connect, guard));
    this.foreign = new KeptConnections(
      () => new Agent({ ...options, maxOrigins: maxForeignOrigins, connect: toForeign }),
      forwarding,
    );
  }

  /**
   * Milliseconds a round trip to the configured origin takes at most; undefined before the first connection, and when
   * connections end at a proxy.
   */
  get roundTrip(): number | undefined {
    return this.#forwarder === undefined ? this.#connector.roundTrip : undefined;
  }

  /**
   * Whether the registry gives any answer but a 5xx to `/v2/`. Asks without credentials, since 401 will do, and on a
   * connection of its own, since the limited ones may all hang. Resolves with false when the signal aborts.
   */
  async ping(signal: AbortSignal): Promise<boolean> {
    const client = new Client(this.#url.origin, this.#options);
    try {
      const { origin } = this.#url;
      const plain = {
        origin,
        path: apiPath(this.#url),
        method: "GET",
        headers: this.#headers,
        signal,
      } as const;
      const proxy = this.#forwarder;
      const request = proxy === undefined ? plain : forwarded(plain, proxy);
      const { statusCode, headers, body } = await client.request(request);
      discard(body);
      if (proxy !== undefined && proxyRefusal(proxy, statusCode, headers) !== undefined) return false;
      return statusCode < 500;
    } catch {
      return false;
    } finally {
      await client.destroy();
    }
  }

  /** Ends every transfer and closes every connection. */
  async close(): Promise<void> {
    await Promise.all([this.own.destroy(), this.foreign.destroy()]);
  }
}

/**
 * undici's connector, with the time the quickest connection took. How soon a registry answers says little about how far
 * away it is: some of them take longer over checking a password than a packet takes to reach them.
 */
export class TimedConnector {
  readonly #connect: buildConnector.connector;
  readonly #now: () => number;
  #roundTrip: number | undefined;

  /** `now` in milliseconds, from any start. */
  constructor(connect: buildConnector.connector, now = () => performance.now()) {
    this.#connect = connect;
    this.#now = now;
  }

  /** Milliseconds a round trip takes at most; undefined before the first connection. */
  get roundTrip(): number | undefined {
    return this.#roundTrip;
  }

  readonly connect: buildConnector.connector = (target, callback) => {
    const began = this.#now();
    // TLS 1.3 takes a second round trip, older versions a third.
    const trips = target.protocol === "https:" ? 2 : 1;
    this.#connect(target, (...result) => {
      const took = (this.#now() - began) / trips;
      if (result[0] === null) this.#roundTrip = Math.min(this.#roundTrip ?? took, took);
      callback(...result);
    });
  };
}
