// Clients of Redis with a bound on everything. With the defaults of ioredis a command to a frozen or stopped server
// stays pending for ten seconds or more; here it fails after `commandTimeout`, or at once when there is no connection.
import { Cluster, Redis, type RedisOptions } from "ioredis";
import type { Address, RedisConfig } from "../../config/config.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { SecretSource } from "../../ports/secret.ts";
import { scripts } from "./scripts.ts";

/** Milliseconds. They bound how long Redis can delay a request. */
const commandTimeout = 200;
const connectTimeout = 500;
/** For closing a connection in good order. */
const disconnectTimeout = 100;

/** Milliseconds between attempts to connect: from the first to the longest, each up to a fifth longer at random. */
const firstRetry = 50;
const longestRetry = 1_000;
const jitter = 0.2;

/** Milliseconds between two reconnections because a server is read-only: it may be the only one there is. */
const readOnlyInterval = 5_000;

/** Passwords as they are now. */
export interface RedisPasswords {
  readonly server: string | undefined;
  readonly sentinels: string | undefined;
}

/** Reads the passwords. They may change while the program runs, so each connection reads them again. */
export class PasswordReader {
  readonly #sources: readonly [server: SecretSource | undefined, sentinels: SecretSource | undefined];
  readonly #notices: NoticeSink;
  #notified: string | undefined;

  constructor({ servers, password }: RedisConfig, notices: NoticeSink) {
    this.#sources = [password, servers.kind === "sentinel" ? servers.password : undefined];
    this.#notices = notices;
  }

  /** Never rejects. A file that cannot be read is notified once. */
  async read(): Promise<RedisPasswords> {
    const [server, sentinels] = await Promise.all(this.#sources.map((source) => source?.read()));
    const problem = this.#sources.find((source) => source?.problem !== undefined)?.problem;
    if (problem !== undefined && problem !== this.#notified)
      this.#notices({ kind: "secret_problem", upstream: "redis", message: problem });
    this.#notified = problem;
    return { server: server?.reveal(), sentinels: sentinels?.reveal() };
  }
}

export type RedisClient = Redis | Cluster;

/** `replyMapping` would change the types of replies. */
type Options = Omit<RedisOptions, "replyMapping">;

/** Milliseconds before attempt `attempt` (from 1) to connect again. */
export function retryDelay(attempt: number): number {
  const delay = Math.min(firstRetry * 2 ** Math.min(attempt - 1, 10), longestRetry);
  return Math.round(delay * (1 + jitter * Math.random()));
}

/**
 * For commands. Connects at once, and again when the connection is lost; commands fail meanwhile and are not queued.
 */
export function commandClient(config: RedisConfig, passwords: RedisPasswords, nodeName: string): RedisClient {
  const options = { ...commonOptions(config, passwords, nodeName), scripts, reconnectOnError: onReadOnly() };
  const { servers } = config;
  if (servers.kind !== "cluster")
    return new Redis({
      ...options,
      ...addressOptions(servers, config, passwords),
      retryStrategy: retryDelay,
    });
  const cluster = new Cluster([...servers.nodes], {
    scripts,
    redisOptions: options,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryDelay,
    // During a failover commands fail at once, and the slots are looked up again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: commandTimeout / 4,
    maxRedirections: 4,
    slotsRefreshTimeout: connectTimeout,
    // The answer MOVED refreshes the slots. The timer of an interval could outlive the client.
    slotsRefreshInterval: 0,
    // Names are not resolved to addresses: certificates are issued for names.
    dnsLookup: (host, callback) => callback(null, host),
  });
  // Otherwise the connection to a node is made by the first command for it, which fails.
  cluster.on("+node", (node: Redis) => {
    if (node.status === "wait") node.connect().catch(() => {});
  });
  return cluster;
}

/** Whether commands can be sent. */
export function isReady(client: RedisClient): boolean {
  if (client instanceof Redis) return client.status === "ready";
  return client.status === "ready" && client.nodes("master").some(({ status }) => status === "ready");
}

/**
 * For listening: one connection, which is not made again when it ends. A Cluster passes messages on to all of its
 * nodes, so any of them will do: `attempt` chooses one.
 */
export function listeningClient(
  config: RedisConfig,
  passwords: RedisPasswords,
  nodeName: string,
  attempt: number,
): Redis {
  const { servers } = config;
  const nodes = servers.kind === "cluster" ? servers.nodes : [];
  const node = nodes[attempt % nodes.length];
  const where = servers.kind === "cluster" ? { ...node } : addressOptions(servers, config, passwords);
  return new Redis({
    ...commonOptions(config, passwords, nodeName),
    ...where,
    lazyConnect: true,
    retryStrategy: null,
    sentinelRetryStrategy: () => null,
  });
}

/** The address of a single server, or of the sentinels that know it. */
function addressOptions(
  servers: Exclude<RedisConfig["servers"], { kind: "cluster" }>,
  { database, tls }: RedisConfig,
  passwords: RedisPasswords,
): Options {
  if (servers.kind === "standalone") return { host: servers.host, port: servers.port, db: database };
  return {
    sentinels: servers.sentinels.map(({ host, port }: Address) => ({ host, port })),
    name: servers.master,
    db: database,
    sentinelCommandTimeout: connectTimeout,
    sentinelRetryStrategy: retryDelay,
    ...(passwords.sentinels === undefined ? {} : { sentinelPassword: passwords.sentinels }),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tlsOptions(tls) }),
  };
}

function commonOptions({ username, tls }: RedisConfig, passwords: RedisPasswords, nodeName: string): Options {
  return {
    connectionName: `entrepot-${nodeName}`,
    // Every server and proxy supports it, and nothing here needs version 3.
    protocol: 2,
    disableClientInfo: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    commandTimeout,
    connectTimeout,
    disconnectTimeout,
    maxLoadingRetryTime: longestRetry,
    ...(username === undefined || passwords.server === undefined ? {} : { username }),
    ...(passwords.server === undefined ? {} : { password: passwords.server }),
    ...(tls === undefined ? {} : { tls: tlsOptions(tls) }),
  };
}

function tlsOptions({ ca, cert, key, serverName }: NonNullable<RedisConfig["tls"]>): TlsOptions {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key: key.reveal() }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  };
}

type TlsOptions = NonNullable<Options["tls"]>;

/** After a failover the connected server may be a replica: connecting again finds the one that takes writes. */
function onReadOnly(): (error: Error) => boolean {
  let reconnectedAt = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    if (!message.startsWith("READONLY") || performance.now() - reconnectedAt < readOnlyInterval) return false;
    reconnectedAt = performance.now();
    return true;
  };
}
