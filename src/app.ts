// The composition root: this file and those in app/ are the only ones that name concrete classes.
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Logger } from "pino";
import { connectionLimit } from "./app/connection-limit.ts";
import { Maintenance } from "./app/maintenance.ts";
import { NodeHealth } from "./app/node-health.ts";
import { createPolicy, type Policy } from "./app/policy.ts";
import { createPushWriters, type PushWriters } from "./app/push-writers.ts";
import { openSharedParts, type SharedParts } from "./app/sharing.ts";
import { openStatsPage, type StatsPage } from "./app/stats-page.ts";
import { createTelemetry, type Telemetry } from "./app/telemetry.ts";
import { Webhooks } from "./app/webhooks.ts";
import { DeniedDigests } from "./cache/denied-digests.ts";
import { Scrubber } from "./cache/scrubber.ts";
import { formatAddress } from "./config/address.ts";
import type { Address, Config } from "./config/config.ts";
import { cacheSizeWarning } from "./config/rules.ts";
import { BufferPool } from "./http/buffer-pool.ts";
import { type ClientLimits, ColdFills, defaultLimits, openAnswers } from "./http/client-limits.ts";
import { Listener } from "./http/listener.ts";
import { Router, type Routing } from "./http/routing.ts";
import { createOpsListener, type OpsListener } from "./ops/listener.ts";
import { type Clock, type Pause, realPause } from "./ports/clock.ts";
import type { NoticeSink } from "./ports/event.ts";
import type { ClosableUpstream } from "./ports/upstream.ts";
import { makePseudonym } from "./ports/via.ts";
import { type DiskStore, type FreeSpace, openDiskStore } from "./storage/disk/store.ts";
import { openIndex, type SqliteIndex } from "./storage/index/sqlite-index.ts";
import type { Sink } from "./telemetry/fan-out.ts";
import type { GaugeSources } from "./telemetry/metrics/gauges.ts";
import { createNotifications, type Notifications } from "./telemetry/notifications/notifications.ts";
import { RecentActivity } from "./telemetry/recent/recent-activity.ts";
import { createUpstream } from "./upstream/http-upstream.ts";
import { userAgent, version } from "./version.ts";

/** Share of the cache's size for blobs found wrong, which are kept for inspection. */
const quarantineShare = 0.02;
/** Share of the cache's size for the beginnings of blobs that no client waits for any more. */
const keptShare = 0.125;

export interface App {
  /** Resolves with the bound addresses. Rejects with StoreError, or the system's error for a taken port. */
  start(): Promise<{ readonly listen: Address; readonly ops: Address }>;
  /** Reports it on /readyz, then stops accepting and resolves when every answer under way has ended. No bound. */
  drain(): Promise<void>;
  /** Cuts what is left and closes everything. Idempotent; also after a failed start. */
  stop(): Promise<void>;
  /** Logs a signal that ends nothing. */
  heard(signal: string): void;
}

export interface BuildOptions {
  readonly log?: Logger;
  readonly clock?: Clock;
  /** For intervals (ports/clock.ts); the clock itself when only that is given. */
  readonly steady?: Clock;
  /** Default: real time. */
  readonly pause?: Pause;
  /** Sinks besides the program's own. */
  readonly sinks?: readonly Sink[];
}

/** Puts the program together. Nothing is opened before `start`. */
export function build(config: Config, options: BuildOptions = {}): App {
  return new Entrepot(config, options);
}

/** The cache directory, opened. */
interface Storage {
  readonly store: DiskStore;
  readonly index: SqliteIndex;
}

/** What answers clients. */
interface Serving {
  readonly upstreams: readonly ClosableUpstream[];
  readonly shared: SharedParts;
  readonly blobs: Policy["blobs"];
  readonly scrubber: Scrubber | undefined;
  readonly maintenance: Maintenance;
  readonly listener: Listener;
}

class Entrepot implements App {
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #steady: Clock;
  readonly #pause: Pause;
  readonly #pseudonym = makePseudonym();
  readonly #limits: ClientLimits & { readonly exempt: readonly string[] };
  readonly #health: NodeHealth;
  readonly #activity: RecentActivity;
  readonly #telemetry: Telemetry;
  readonly #log: Logger;
  readonly #notices: NoticeSink;
  readonly #notifications: Notifications;
  readonly #webhooks: Webhooks;
  readonly #stopping = new AbortController();
  /** Closes in the reverse order of opening, whatever of it was opened. */
  readonly #opened = new AsyncDisposableStack();
  #storage: Storage | undefined;
  #stats: StatsPage | undefined;
  #serving: Serving | undefined;
  /** The port clients pull from, once it is known. */
  #port = 0;

  constructor(
    config: Config,
    { log, clock = Date.now, steady, pause = realPause, sinks = [] }: BuildOptions,
  ) {
    this.#config = config;
    this.#clock = clock;
    this.#pause = pause;
    this.#steady = steady ?? (clock === Date.now ? steadyFrom(clock()) : clock);
    this.#limits = config.limits ?? { ...defaultLimits, exempt: [] };
    this.#health = new NodeHealth(() => {
      if (!this.#stopping.signal.aborted) void this.#serving?.maintenance.checkStore();
    });
    this.#activity = new RecentActivity({ upstreams: config.upstreams.map(({ name }) => name), clock });
    const endpoints = config.notifications?.endpoints ?? [];
    this.#telemetry = createTelemetry({
      config,
      log,
      gauges: this.#gauges(),
      notifications: {
        endpoints: endpoints.map(({ name }) => name),
        pending: (endpoint) => this.#notifications.pending(endpoint),
      },
      sinks: [
        { name: "health", onNotice: (notice) => this.#health.onNotice(notice) },
        { name: "notifications", onEvent: (event) => this.#notifications.onEvent(event) },
        { name: "stats", onEvent: this.#activity.onEvent, onNotice: this.#activity.onNotice },
        ...sinks,
      ],
    });
    this.#opened.defer(() => this.#telemetry.flush());
    this.#log = this.#telemetry.log;
    this.#notices = this.#telemetry.notices;
    const instanceID = randomUUID();
    this.#notifications = createNotifications({
      endpoints,
      source: () => ({ addr: `${hostname()}:${this.#port}`, instanceID }),
      notices: this.#notices,
      userAgent,
      pause,
    });
    this.#opened.defer(() => this.#notifications.close());
    this.#webhooks = new Webhooks(config, this.#notices);
  }

  async start(): Promise<{ listen: Address; ops: Address }> {
    const storage = await this.#openStorage();
    const maintenance = this.#createMaintenance(storage);
    const opsAddress = await this.#openOps(storage);
    const { host, port } = this.#config.listen;
    const listener = await this.#openServing(storage, maintenance);
    const bound = await listener.listen(host, port);
    this.#port = bound.port;
    this.#health.checks.set("listening", true);
    const listenAddress = { host: bound.address, port: bound.port };
    const { swept } = storage.store;
    if (swept > 0) this.#log.info({ files: swept }, "removed what interrupted fills had left");
    const addresses = { listen: formatAddress(listenAddress), ops: formatAddress(opsAddress) };
    this.#log.info({ version, ...addresses }, "listening");
    return { listen: listenAddress, ops: opsAddress };
  }

  async #openStorage(): Promise<Storage> {
    const { cache, proofs } = this.#config;
    const store = await openDiskStore({
      directory: cache.dir,
      quarantineBytes: cache.maxSize * quarantineShare,
      keptBytes: cache.maxSize * keptShare,
      clock: this.#clock,
    });
    this.#opened.defer(() => store.close());
    const small = cacheSizeWarning(cache);
    if (small !== undefined) this.#log.warn(small);
    const index = await store.withRoom(() =>
      openIndex({ directory: cache.dir, clock: this.#clock, notice: this.#notices, proofs }),
    );
    this.#opened.defer(() => this.#closeIndex(index));
    if (store.shed > 0) this.#log.warn({ blobs: store.shed }, "the disk was full: removed blobs to start");
    this.#health.checks.set("store", true);
    this.#storage = { store, index };
    return this.#storage;
  }

  /** Begins with `#openServing`. */
  #createMaintenance(storage: Storage): Maintenance {
    const maintenance = new Maintenance({
      ...storage,
      ...this.#common(),
      health: this.#health.checks,
      // A copy made after a loss has everything again that the index has.
      indexCopied: () => this.#health.setIndex(undefined),
      log: this.#log,
      signal: this.#stopping.signal,
    });
    this.#opened.defer(() => maintenance.end());
    return maintenance;
  }

  /** The second listener: health, metrics, the stats page and webhooks. */
  async #openOps({ store, index }: Storage): Promise<Address> {
    const { opsListen, node, opsHosts } = this.#config;
    const stats = await openStatsPage({
      ...this.#common(),
      config: this.#config,
      version,
      activity: this.#activity,
      health: this.#health.checks,
      disk: () => this.#health.space,
      troubles: () => this.#health.troubles,
      running: () => ({ store, index, ...this.#serving }),
      notifications: this.#notifications,
      store,
      index,
    });
    this.#stats = stats;
    this.#opened.defer(() => stats.close());
    const listener: OpsListener = createOpsListener({
      health: this.#health.checks,
      metrics: this.#telemetry.metrics,
      log: this.#log,
      webhooks: this.#webhooks.receiver,
      stats: stats.pages,
      hosts: [
        opsListen.host,
        node.name,
        ...(node.address === undefined ? [] : [new URL(node.address).hostname]),
        ...opsHosts,
      ],
    });
    this.#opened.defer(() => listener.close());
    return await listener.listen(opsListen);
  }

  /** The policy over the opened store and index, and the listener in front of it, which does not listen yet. */
  async #openServing({ store, index }: Storage, maintenance: Maintenance): Promise<Listener> {
    const { cache } = this.#config;
    const common = this.#common();
    const upstreams = this.#config.upstreams.map((upstream) =>
      createUpstream(upstream, { ...common, clock: this.#steady, pseudonym: this.#pseudonym }),
    );
    this.#opened.defer(async () => {
      await Promise.all(upstreams.map((upstream) => upstream.close()));
    });
    const shared = await openSharedParts({
      ...common,
      config: this.#config,
      pseudonym: this.#pseudonym,
      store,
      // There is nothing to upload before the policy stands.
      check: (digest) => policy.local.checks.check(digest, "upload"),
      own: index,
    });
    const policy = createPolicy({
      ...common,
      config: this.#config,
      store,
      index: index.blobs,
      answers: index.answers,
      shared,
      upstreams,
      repositoriesOf: (digest, limit) => index.links.repositoriesOf(digest, limit),
      freeSpace: () => this.#freeSpace(store),
    });
    this.#opened.defer(async () => {
      // At once: a fill may be waiting for S3 or another node.
      await Promise.all([policy.blobs.stop(new Error("this node is stopping")), shared.close()]);
    });
    const pushes = createPushWriters(this.#config.upstreams, {
      ...common,
      clock: this.#steady,
      pseudonym: this.#pseudonym,
      caches: policy,
      limits: this.#limits,
    });
    this.#opened.defer(() => pushes.close());
    const scrubber =
      cache.scrub === 0
        ? undefined
        : new Scrubber({
            ...common,
            interval: cache.scrub,
            index: index.blobs,
            checks: policy.local.checks,
          });
    const listener = this.#createListener(index, upstreams, policy, pushes);
    this.#opened.defer(() => listener.stop());
    this.#webhooks.attach({ upstreams, caches: policy, tags: shared.tags });
    this.#opened.defer(() => this.#webhooks.stop());
    this.#serving = { upstreams, shared, blobs: policy.blobs, scrubber, maintenance, listener };
    maintenance.start({
      eviction: policy.eviction,
      scrubber,
      uploadOverdue: () => shared.catchUp(index.blobs, this.#stopping.signal),
    });
    return listener;
  }

  #createListener(
    index: SqliteIndex,
    upstreams: readonly ClosableUpstream[],
    { blobs, manifests, confirmations, listings }: Policy,
    { writers }: PushWriters,
  ): Listener {
    const { catalog, cacheStatus, serverTiming, via, trustedProxies } = this.#config;
    const limits = this.#limits;
    const coldFills = this.#config.upstreams.map(
      ({ name, maxConnections }) => [name, new ColdFills(maxConnections, limits)] as const,
    );
    return new Listener({
      blobs,
      manifests,
      confirmations,
      index: index.blobs,
      pool: new BufferPool(),
      listings,
      router: new Router(this.#routings(upstreams)),
      denied: new DeniedDigests(index.graph, this.#notices),
      pseudonym: this.#pseudonym,
      ...(writers.size === 0 ? {} : { push: (upstream) => writers.get(upstream) }),
      catalog,
      trustedProxies,
      exempt: limits.exempt,
      answers: openAnswers(limits),
      coldFills: new Map(coldFills),
      cacheStatus,
      serverTiming,
      via,
      maxConnections: connectionLimit(),
      readiness: () => this.#health.checks.readiness(),
      unexpected: (error) => this.#log.error({ err: error }, "a request failed in a way nobody foresaw"),
      onEvent: this.#telemetry.onEvent,
    });
  }

  #routings(upstreams: readonly ClosableUpstream[]): [Routing, ...Routing[]] {
    const routings = this.#config.upstreams.map(
      ({ component, namespaces, hosts, library, allow, deny, next }, i): Routing => {
        const upstream = upstreams[i] as ClosableUpstream;
        return { upstream, component, namespaces, hosts, library, allow, deny, next };
      },
    );
    return routings as [Routing, ...Routing[]];
  }

  #common() {
    return { notices: this.#notices, clock: this.#clock, steady: this.#steady, pause: this.#pause };
  }

  async drain(): Promise<void> {
    this.#health.checks.draining(true);
    const { drainDelay, drainTimeout } = this.#config;
    // Half of the time at least is for the transfers under way.
    const delay = Math.min(drainDelay, drainTimeout / 2);
    this.#log.info({ delay_ms: delay }, "draining");
    this.#stats?.pages.end();
    await this.#pause(delay, this.#stopping.signal).catch(() => {});
    await this.#serving?.listener.drain();
    await this.#notifications.flush();
    this.#log.info("drained");
  }

  heard(signal: string): void {
    if (signal === "SIGHUP")
      this.#log.warn(
        { signal },
        "nothing is read again at SIGHUP: files with secrets are whenever they change, everything else at the next start",
      );
    else this.#log.info({ signal }, "a signal without a meaning here");
  }

  async stop(): Promise<void> {
    this.#health.checks.draining(true);
    this.#stopping.abort();
    await this.#opened.disposeAsync();
  }

  /** On a full disk its log cannot be copied into it: the next start reads the log and compares index and store. */
  #closeIndex(index: SqliteIndex): void {
    try {
      index.close();
    } catch (error) {
      this.#log.error({ err: error }, "the index was not closed in good order: the next start repairs it");
    }
  }

  async #freeSpace(store: DiskStore): Promise<FreeSpace> {
    const space = await store.freeSpace();
    const full = this.#health.setSpace(space);
    if (full !== undefined) this.#log.error(full);
    return space;
  }

  #gauges(): GaugeSources {
    const { cache, s3 } = this.#config;
    const totals = () => this.#storage?.index.blobs.totals();
    return {
      fillsRunning: () => this.#serving?.blobs.fills.length,
      followers: () => this.#serving?.blobs.fills.reduce((sum, fill) => sum + fill.followers, 0),
      cacheBytes: (store) => (store === "disk" ? totals()?.bytes : this.#serving?.shared.storedBytes()),
      cacheLimitBytes: (store) => (store === "disk" ? cache.maxSize : s3?.maxSize),
      cacheObjects: (store) => (store === "disk" ? totals()?.count : undefined),
      spoolBytes: () => this.#storage?.store.spoolBytes,
      quarantineBytes: () => this.#storage?.store.quarantined.bytes,
      oldestCheckAge: () => {
        const at = this.#serving?.scrubber?.oldestCheck;
        return at === undefined || at === 0 ? undefined : Math.max(0, this.#clock() - at) / 1000;
      },
      cacheDiskFreeBytes: () => this.#health.space?.free,
      cacheDiskFreeInodes: () => this.#health.space?.files?.free,
      pendingUploads: () => this.#serving?.shared.pendingUploads(),
      httpInFlightRequests: () => this.#serving?.listener.inFlight,
      ready: () => this.#health.checks.ready(),
      draining: () => this.#health.checks.isDraining(),
    };
  }
}

/** The clock's time now, and from then on the time that has passed, even when the clock is set. */
function steadyFrom(now: number): Clock {
  const start = now - performance.now();
  return () => start + performance.now();
}
