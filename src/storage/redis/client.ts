// Clients of Redis with bounds on everything. With ioredis' defaults a frozen server leaves a question pending for
// longer than 15 s and a stopped one for 10 s; with these settings it is 0.2 s and at once (measured).
import { Cluster, Redis, type RedisOptions } from "ioredis";
import type { Address, RedisConfig } from "../../config/config.ts";
import type { SecretSource } from "../../config/secret.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { scripts } from "./scripts.ts";

/** Milliseconds; all of them bound what a request may have to wait for. */
const commandTimeout = 200;
const connectTimeout = 500;
/** How long a closed connection may take to say goodbye. */
const disconnectTimeout = 100;

/** Milliseconds between attempts to connect: from the first to the longest, each up to a fifth longer at random. */
const firstRetry = 50;
const longestRetry = 1_000;
const jitter = 0.2;

/** A server that takes no writes is left at most once in this time: it may be the only one there is. */
const readOnlyPatience = 5_000;

/** Passwords as they are now. */
export interface RedisPasswords {
  readonly server: string | undefined;
  readonly sentinels: string | undefined;
}

/** Reads the passwords, which change while the program runs: again whenever a connection is lost or refused. */
export class PasswordReader {
  readonly #sources: readonly [server: SecretSource | undefined, sentinels: SecretSource | undefined];
  readonly #notices: NoticeSink;
  #told: string | undefined;

  constructor({ servers, password }: RedisConfig, notices: NoticeSink) {
    this.#sources = [password, servers.kind === "sentinel" ? servers.password : undefined];
    this.#notices = notices;
  }

  /** As they are now; a file that cannot be read is told once. */
  async read(): Promise<RedisPasswords> {
    const [server, sentinels] = await Promise.all(this.#sources.map((source) => source?.read()));
    const problem = this.#sources.find((source) => source?.problem !== undefined)?.problem;
    if (problem !== undefined && problem !== this.#told)
      this.#notices({ kind: "secret_problem", upstream: "redis", message: problem });
    this.#told = problem;
    return { server: server?.reveal(), sentinels: sentinels?.reveal() };
  }
}

export type RedisClient = Redis | Cluster;

/** What replies look like is not chosen here. */
type Options = Omit<RedisOptions, "replyMapping">;

/** Milliseconds before attempt `attempt` (from 1) to connect again. */
export function retryDelay(attempt: number): number {
  const delay = Math.min(firstRetry * 2 ** Math.min(attempt - 1, 10), longestRetry);
  return Math.round(delay * (1 + jitter * Math.random()));
}

/** For commands. Connects at once and again whenever it has to; nothing is queued while it cannot. */
export function commandClient(config: RedisConfig, passwords: RedisPasswords, nodeName: string): RedisClient {
  const options = { ...commonOptions(config, passwords, nodeName), scripts, reconnectOnError: onReadOnly() };
  const { servers } = config;
  if (servers.kind !== "cluster")
    return new Redis({ ...options, ...place(servers, config, passwords), retryStrategy: retryDelay });
  const cluster = new Cluster([...servers.nodes], {
    scripts,
    redisOptions: options,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryDelay,
    // Nobody waits for a failover: a command that meets one fails, and the slots are looked up again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: commandTimeout / 4,
    maxRedirections: 4,
    slotsRefreshTimeout: connectTimeout,
    // The answer MOVED makes it look again; its timer would outlive a client closed at the wrong moment.
    slotsRefreshInterval: 0,
    // Names stay names: certificates are issued for them.
    dnsLookup: (host, callback) => callback(null, host),
  });
  // It would connect to a node when it is first asked, and refuse that question.
  cluster.on("+node", (node: Redis) => {
    if (node.status === "wait") node.connect().catch(() => {});
  });
  return cluster;
}

/** Whether it is worth while to ask. */
export function isReady(client: RedisClient): boolean {
  if (client instanceof Redis) return client.status === "ready";
  return client.status === "ready" && client.nodes("master").some(({ status }) => status === "ready");
}

/**
 * For listening: one connection, which is not made again once it ends. A Cluster passes messages on to all of its
 * nodes, so any will do; `attempt` chooses.
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
  const where = servers.kind === "cluster" ? { ...node } : place(servers, config, passwords);
  return new Redis({
    ...commonOptions(config, passwords, nodeName),
    ...where,
    lazyConnect: true,
    retryStrategy: null,
    sentinelRetryStrategy: () => null,
  });
}

/** Where a single server is, or who knows where. */
function place(
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
    // Every server and proxy speaks it, and nothing here needs the third version.
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

/** After a failover the server we know may have become a replica: connecting again finds the one that takes writes. */
function onReadOnly(): (error: Error) => boolean {
  let left = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    if (!message.startsWith("READONLY") || performance.now() - left < readOnlyPatience) return false;
    left = performance.now();
    return true;
  };
}
