// The composition root: this file and those in app/ are the only ones that name concrete classes.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { Hooks } from "./app/hooks.ts";
import { createPolicy } from "./app/policy.ts";
import { createPushWriters, type PushWriters } from "./app/push-writers.ts";
import { openSharedParts, type SharedParts } from "./app/sharing.ts";
import { openStatsPage, type StatsPage } from "./app/stats-page.ts";
import { StoreWatch, storeLookInterval } from "./app/store-watch.ts";
import { createTelemetry, type Telemetry } from "./app/telemetry.ts";
import type { BlobCache } from "./cache/blob-cache.ts";
import { DeniedDigests } from "./cache/denied-digests.ts";
import type { Eviction } from "./cache/eviction.ts";
import type { LocalBlobs } from "./cache/local-blobs.ts";
import { Scrubber } from "./cache/scrubber.ts";
import type { Address, Config } from "./config/config.ts";
import { cacheSizeWarning } from "./config/rules.ts";
import { BufferPool } from "./http/buffer-pool.ts";
import { ColdFills, defaultLimits, openAnswers } from "./http/client-limits.ts";
import { Listener } from "./http/listener.ts";
import { Router, type Routing } from "./http/routing.ts";
import { createHealth } from "./ops/health.ts";
import { createOpsListener, type OpsListener } from "./ops/listener.ts";
import type { Clock, Pause } from "./ports/clock.ts";
import type { Notice, NoticeSink } from "./ports/event.ts";
import { noticeOfStoreError } from "./ports/store-notice.ts";
import type { ClosableUpstream } from "./ports/upstream.ts";
import { makePseudonym } from "./ports/via.ts";
import { type DiskStore, type FreeSpace, fullness, openDiskStore } from "./storage/disk/store.ts";
import { reconcile } from "./storage/index/reconcile.ts";
import { openIndex, type SqliteIndex } from "./storage/index/sqlite-index.ts";
import type { Sink } from "./telemetry/fan-out.ts";
import type { GaugeSources } from "./telemetry/metrics/gauges.ts";
import { createRecentActivity, type RecentActivity } from "./telemetry/recent/recent-activity.ts";
import { createUpstream } from "./upstream/http-upstream.ts";
import { version } from "./version.ts";

/** How often the free disk space is looked at. */
const diskCheckInterval = 30_000;
/** Between two copies of the index. */
const indexCopyInterval = 3_600_000;
/** Links looked at in one turn, and milliseconds between two turns: a round over a million takes three hours. */
const linksPerSweep = 100;
const linkSweepInterval = 1_000;
/** Milliseconds a stop waits for the last copy of the index. */
const lastCopyPatience = 5_000;
/** Share of the cache's size that blobs found wrong may take, which are kept for inspection. */
const quarantineShare = 0.02;
/** The same of what has come of blobs that nobody waits for any more: at most an eighth of what is in use is not here. */
const keptShare = 0.125;

export interface App {
  /** Resolves with the bound addresses. Rejects with StoreError, or the system's error for a taken port. */
  start(): Promise<{ readonly listen: Address; readonly ops: Address }>;
  /** Says so on /readyz, then stops accepting and resolves when every answer under way has ended. */
  drain(): Promise<void>;
  /** Cuts what is left and closes everything. Idempotent; also after a failed start. */
  stop(): Promise<void>;
  /** Says in the log what a signal that ends nothing has done. */
  heard(signal: string): void;
}

export interface BuildOptions {
  readonly log?: Logger;
  readonly clock?: Clock;
  /** For intervals (ports.ts); the clock itself when only that is given. */
  readonly steady?: Clock;
  /** Default: real time. */
  readonly pause?: Pause;
  /** What listens to events and notices besides the program's own. */
  readonly sinks?: readonly Sink[];
}

/** Puts the program together. Nothing is opened before `start`. */
export function build(config: Config, options: BuildOptions = {}): App {
  return new Entrepot(config, options);
}

const realPause: Pause = (milliseconds, signal) => sleep(milliseconds, undefined, { signal });

class Entrepot implements App {
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #steady: Clock;
  readonly #pause: Pause;
  readonly #pseudonym = makePseudonym();
  readonly #log: Logger;
  readonly #telemetry: Telemetry;
  readonly #activity: RecentActivity;
  readonly #hooks: Hooks;
  readonly #notices: NoticeSink;
  readonly #health = createHealth();
  readonly #stopping = new AbortController();
  #running: Running | undefined;
  /** What is wrong with the index. */
  #trouble: string | undefined;
  #space: FreeSpace | undefined;
  /** What the disk has no more of. */
  #full: string | undefined;

  constructor(
    config: Config,
    { log, clock = Date.now, steady, pause = realPause, sinks = [] }: BuildOptions,
  ) {
    this.#config = config;
    this.#clock = clock;
    this.#pause = pause;
    this.#steady = steady ?? (clock === Date.now ? steadyFrom(clock()) : clock);
    const names = config.upstreams.map(({ name }) => name);
    this.#activity = createRecentActivity({ upstreams: names, clock });
    this.#telemetry = createTelemetry({
      config,
      log,
      gauges: this.#gauges(),
      notifications: {
        endpoints: config.notifications?.endpoints.map(({ name }) => name) ?? [],
        pending: (endpoint) => this.#hooks.notifications.pending(endpoint),
      },
      sinks: [
        { name: "health", onNotice: (notice) => this.#noteHealth(notice) },
        { name: "notifications", onEvent: (event) => this.#hooks.notifications.onEvent(event) },
        { name: "stats", onEvent: this.#activity.onEvent, onNotice: this.#activity.onNotice },
        ...sinks,
      ],
    });
    this.#log = this.#telemetry.log;
    this.#notices = this.#telemetry.notices;
    this.#hooks = new Hooks(config, this.#notices, pause);
  }

  async start(): Promise<{ listen: Address; ops: Address }> {
    const { cache, listen, opsListen, node, opsHosts = [] } = this.#config;
    const store = await openDiskStore({
      directory: cache.dir,
      quarantineBytes: cache.maxSize * quarantineShare,
      keptBytes: cache.maxSize * keptShare,
      clock: this.#clock,
    });
    const small = cacheSizeWarning(cache);
    if (small !== undefined) this.#log.warn(small);
    const running: Running = { store, timers: [] };
    this.#running = running;
    running.index = await store.withRoom(() =>
      openIndex({
        directory: cache.dir,
        clock: this.#clock,
        notice: this.#notices,
        proofs: this.#config.proofs,
      }),
    );
    if (store.shed > 0) this.#log.warn({ blobs: store.shed }, "the disk was full: removed blobs to start");
    this.#health.set("store", true);
    const { webhooks } = this.#hooks;
    const { metrics } = this.#telemetry;
    running.stats = await this.#openStats(running, store, running.index);
    running.opsListener = createOpsListener({
      health: this.#health,
      metrics,
      log: this.#log,
      webhooks,
      stats: running.stats.pages,
      hosts: [
        opsListen.host,
        node.name,
        ...(node.address === undefined ? [] : [new URL(node.address).hostname]),
        ...opsHosts,
      ],
    });
    const opsAddress = await running.opsListener.listen(opsListen);
    running.shared = await openSharedParts({
      config: this.#config,
      pseudonym: this.#pseudonym,
      store,
      // Uploads begin when there is something to upload, which is after the policy was made.
      check: async (digest) => (await running.local?.checks.check(digest, "upload")) ?? "unknown",
      own: running.index,
      notices: this.#notices,
      clock: this.#clock,
      steady: this.#steady,
      pause: this.#pause,
    });
    const listener = this.#assemble(running, store, running.index, running.shared);
    const bound = await listener.listen(listen.host, listen.port);
    this.#hooks.port = bound.port;
    this.#health.set("listening", true);
    const listenAddress = { host: bound.address, port: bound.port };
    if (store.swept > 0) this.#log.info({ files: store.swept }, "removed what interrupted fills had left");
    this.#log.info({ version, listen: text(listenAddress), ops: text(opsAddress) }, "listening");
    return { listen: listenAddress, ops: opsAddress };
  }

  #openStats(running: Running, store: DiskStore, index: SqliteIndex): Promise<StatsPage> {
    return openStatsPage({
      config: this.#config,
      version,
      clock: this.#clock,
      steady: this.#steady,
      activity: this.#activity,
      health: this.#health,
      notices: this.#notices,
      disk: () => this.#space,
      troubles: () => ({ index: this.#trouble, disk: this.#full }),
      running: () => running,
      notifications: this.#hooks.notifications,
      store,
      index,
    });
  }

  /** Policy over the opened store and index, and the listener in front of it. */
  #assemble(running: Running, store: DiskStore, index: SqliteIndex, shared: SharedParts): Listener {
    const { catalog, cacheStatus, serverTiming, via, trustedProxies = [], limits: asked } = this.#config;
    const limits = asked ?? { ...defaultLimits, exempt: [] };
    const common = { notices: this.#notices, clock: this.#clock, steady: this.#steady, pause: this.#pause };
    const upstreams = this.#config.upstreams.map((upstream) =>
      createUpstream(upstream, {
        notices: this.#notices,
        clock: this.#steady,
        pause: this.#pause,
        pseudonym: this.#pseudonym,
      }),
    );
    const { eviction, local, blobs, manifests, listings, confirmations, ...others } = createPolicy({
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
    const router = new Router(this.#routings(upstreams));
    const caches = { ...others, manifests, listings, confirmations };
    const pushes = createPushWriters(this.#config.upstreams, upstreams, {
      ...common,
      clock: this.#steady,
      pseudonym: this.#pseudonym,
      caches,
      limits,
    });
    this.#hooks.attach(upstreams, { caches, tags: shared.tags });
    const listener = new Listener({
      blobs,
      manifests,
      confirmations,
      index: index.blobs,
      pool: new BufferPool(),
      listings,
      router,
      denied: new DeniedDigests(index.graph, this.#notices),
      pseudonym: this.#pseudonym,
      ...(pushes.writers.size === 0 ? {} : { push: ({ name }) => pushes.writers.get(name) }),
      catalog,
      trustedProxies,
      exempt: limits.exempt,
      answers: openAnswers(limits),
      coldFills: new Map(
        this.#config.upstreams.map(({ name, maxConnections }) => [
          name,
          new ColdFills(maxConnections, limits),
        ]),
      ),
      cacheStatus,
      serverTiming,
      via,
      maxConnections: connectionsFor(openFilesLimit()),
      readiness: () => this.#health.readiness(),
      unexpected: (error) => this.#log.error({ err: error }, "a request failed in a way nobody foresaw"),
      onEvent: this.#telemetry.onEvent,
    });
    const scrubber =
      this.#config.cache.scrub === 0
        ? undefined
        : new Scrubber({
            ...common,
            interval: this.#config.cache.scrub,
            index: index.blobs,
            checks: local.checks,
          });
    Object.assign(running, { upstreams, pushes, local, blobs, listener, scrubber });
    this.#maintain(running, store, index, eviction);
    this.#watchStore(running, store, index);
    return listener;
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

  /** Beside the requests: the disk reserve, making the index agree with the store, and uploads that are overdue. */
  #maintain(running: Running, store: DiskStore, index: SqliteIndex, eviction: Eviction): void {
    running.timers.push(setInterval(() => void this.#keepSpace(store, eviction), diskCheckInterval).unref());
    void this.#keepSpace(store, eviction);
    running.timers.push(setInterval(() => this.#sweepLinks(index), linkSweepInterval).unref());
    running.reconciling = this.#reconcile(store, index).then(() => {
      // Of what the last run had, before much of it changes.
      void this.#copyIndex(index);
      if (!this.#stopping.signal.aborted) running.scrubber?.start();
      return running.shared?.catchUp(index.blobs, this.#stopping.signal);
    });
    const copy = async (): Promise<void> => {
      // An hour after a loss everything is in order again.
      if (await this.#copyIndex(index)) this.#indexTrouble(undefined);
    };
    running.timers.push(setInterval(() => void copy(), indexCopyInterval).unref());
  }

  async #reconcile(store: DiskStore, index: SqliteIndex): Promise<void> {
    try {
      const counts = await reconcile({ store, index, clock: this.#clock, signal: this.#stopping.signal });
      if (counts !== undefined) this.#log.info(counts, "made the index agree with the store");
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#log.error({ err: error }, "the index could not be repaired");
    }
  }

  #watchStore(running: Running, store: DiskStore, index: SqliteIndex): void {
    const watch = new StoreWatch({
      probe: () => store.probe(),
      replaced: () => {
        index.requireReconcile();
        const before = running.reconciling ?? Promise.resolve();
        running.reconciling = before.then(() => this.#reconcile(store, index));
      },
      health: this.#health,
      notices: this.#notices,
      steady: this.#steady,
    });
    running.storeWatch = watch;
    running.timers.push(setInterval(() => void watch.look(), storeLookInterval).unref());
  }

  /** False when it failed. */
  async #copyIndex(index: SqliteIndex, where: "thread" | "here" = "thread"): Promise<boolean> {
    try {
      if (index.changed) await index.copy(where);
      return true;
    } catch (error) {
      this.#notices(noticeOfStoreError("index.copy", error));
      return false;
    }
  }

  #sweepLinks(index: SqliteIndex): void {
    try {
      index.sweepLinks(linksPerSweep);
    } catch (error) {
      this.#notices(noticeOfStoreError("links.sweep", error));
    }
  }

  async #keepSpace(store: DiskStore, eviction: Eviction): Promise<void> {
    try {
      const files = await store.sweep();
      if (files > 0) this.#log.warn({ files }, "removed files of no fill from the spool");
    } catch (error) {
      this.#notices(noticeOfStoreError("sweep", error));
    }
    await eviction.run();
  }

  async drain(): Promise<void> {
    this.#health.draining(true);
    const { drainDelay, drainTimeout } = this.#config;
    // Half of the time at least is for the transfers under way.
    const delay = Math.min(drainDelay, drainTimeout / 2);
    this.#log.info({ delay_ms: delay }, "draining");
    this.#running?.stats?.pages.end();
    await this.#pause(delay, this.#stopping.signal).catch(() => {});
    await this.#running?.listener?.drain();
    await this.#hooks.notifications.flush();
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
    this.#health.draining(true);
    this.#stopping.abort();
    this.#hooks.stop();
    const running = this.#running;
    this.#running = undefined;
    if (running !== undefined) {
      for (const timer of running.timers) clearInterval(timer);
      running.listener?.stop();
      await running.pushes?.close();
      const stopping = running.blobs?.stop(new Error("this node is stopping"));
      await running.shared?.close();
      await stopping;
      await Promise.all(running.upstreams?.map((upstream) => upstream.close()) ?? []);
      await running.reconciling;
      await running.scrubber?.stop();
      await running.opsListener?.close();
      await running.stats?.close();
      if (running.listener !== undefined) await this.#lastCopy(running.index);
      this.#closeIndex(running.index);
      await running.store.close();
    }
    await this.#hooks.notifications.close();
    await this.#telemetry.flush();
  }

  /** On a full disk its log cannot be copied into it: the next start reads the log and compares index and store. */
  #closeIndex(index: SqliteIndex | undefined): void {
    try {
      index?.close();
    } catch (error) {
      this.#log.error({ err: error }, "the index was not closed in good order: the next start repairs it");
    }
  }

  /** Of an orderly end, so that what was learned since the last one survives a broken file. */
  async #lastCopy(index: SqliteIndex | undefined): Promise<void> {
    const over = new AbortController();
    if (index !== undefined)
      await Promise.race([
        this.#copyIndex(index, "here"),
        this.#pause(lastCopyPatience, over.signal).catch(() => {}),
      ]);
    over.abort();
  }

  /** `detail`: what is wrong with the index, for /readyz and the stats page. */
  #indexTrouble(detail: string | undefined): void {
    this.#trouble = detail;
    this.#health.set("index", detail === undefined, detail);
  }

  /** For people reading /readyz: what an upstream does never decides readiness. */
  #noteHealth(notice: Notice): void {
    if (notice.kind === "index_lost") this.#indexTrouble(lossText(notice));
    if (notice.kind === "store_error" && notice.op === "index.damaged")
      this.#indexTrouble(`damaged, and replaced at the next start: ${notice.message}`);
    // At once, not at the next look: whoever balances the load should know.
    if (notice.kind === "store_error" && notice.code === "unavailable")
      void this.#running?.storeWatch?.look();
    if (notice.kind === "upstream_error" && notice.code !== "local")
      this.#health.set(`upstream ${notice.upstream}`, false, notice.code);
    if (notice.kind === "shared_store")
      this.#health.set(notice.store, notice.usable, notice.usable ? undefined : notice.message);
    // A token server that answers is no sign of life of the registry.
    if (notice.kind === "upstream_request" && notice.type !== "token" && notice.status < 400)
      this.#health.set(`upstream ${notice.upstream}`, true);
  }

  async #freeSpace(store: DiskStore): Promise<FreeSpace> {
    const space = await store.freeSpace();
    this.#space = space;
    const full = fullness(space);
    if (full !== undefined || this.#full !== undefined) this.#health.set("disk", full === undefined, full);
    if (full !== undefined && this.#full === undefined) this.#log.error(full);
    this.#full = full;
    return space;
  }

  #gauges(): GaugeSources {
    const { cache, s3 } = this.#config;
    const totals = () => this.#running?.index?.blobs.totals();
    return {
      fillsRunning: () => this.#running?.blobs?.fills.length,
      followers: () => this.#running?.blobs?.fills.reduce((sum, fill) => sum + fill.followers, 0),
      cacheBytes: (store) => (store === "disk" ? totals()?.bytes : this.#running?.shared?.storedBytes()),
      cacheLimitBytes: (store) => (store === "disk" ? cache.maxSize : s3?.maxSize),
      cacheObjects: (store) => (store === "disk" ? totals()?.count : undefined),
      spoolBytes: () => this.#running?.store.spoolBytes,
      quarantineBytes: () => this.#running?.store.quarantined.bytes,
      oldestCheckAge: () => {
        const at = this.#running?.scrubber?.oldestCheck;
        return at === undefined || at === 0 ? undefined : Math.max(0, this.#clock() - at) / 1000;
      },
      cacheDiskFreeBytes: () => this.#space?.free,
      cacheDiskFreeInodes: () => this.#space?.files?.free,
      pendingUploads: () => this.#running?.shared?.pendingUploads(),
      httpInFlightRequests: () => this.#running?.listener?.inFlight,
      ready: () => this.#health.ready(),
      draining: () => this.#health.isDraining(),
    };
  }
}

/** What has been opened so far: `stop` closes that much, also after a start that failed half-way. */
interface Running {
  readonly store: DiskStore;
  readonly timers: NodeJS.Timeout[];
  index?: SqliteIndex;
  opsListener?: OpsListener;
  upstreams?: readonly ClosableUpstream[];
  shared?: SharedParts;
  pushes?: PushWriters;
  local?: LocalBlobs;
  blobs?: BlobCache;
  listener?: Listener;
  scrubber?: Scrubber;
  storeWatch?: StoreWatch;
  reconciling?: Promise<void>;
  stats?: StatsPage;
}

/** What the clock says now, and from here on what has passed since, whoever sets the clock. */
function steadyFrom(now: number): Clock {
  const start = now - performance.now();
  return () => start + performance.now();
}

function lossText({ reason, copiedAt }: Notice & { kind: "index_lost" }): string {
  const now =
    copiedAt === undefined
      ? "it was made anew from the store, without tags"
      : `its copy of ${new Date(copiedAt).toISOString()} is used`;
  return `could not be read at the start, and ${now}: ${reason}`;
}

function text({ host, port }: Address): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Handles this process may have; undefined where the system does not say. */
function openFilesLimit(): number | undefined {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/** Handles of the program itself before anybody comes: the index, the log, sockets, and some to spare. */
const ownHandles = 64;

/**
 * Clients' connections for which there are handles: two for each, the second for the file it is sent. A quarter of all,
 * and at least `ownHandles`, is left to what runs: fills, connections to upstreams and stores, the index, the log.
 */
function connectionsFor(handles = Number.POSITIVE_INFINITY): number {
  const reserve = Math.max(ownHandles, handles / 4);
  return handles === Number.POSITIVE_INFINITY ? handles : Math.max(16, Math.floor((handles - reserve) / 2));
}
