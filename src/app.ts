// The composition root: this file and those in app/ are the only ones that name concrete classes.
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { hostname } from "node:os";
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import { Access } from "./app/access.ts";
import { CertificateFiles } from "./app/certificate-files.ts";
import { connectionLimit } from "./app/connection-limit.ts";
import { Blocks } from "./app/images/blocks.ts";
import { ImageCommands } from "./app/images/image-commands.ts";
import { Imports } from "./app/images/imports.ts";
import { Pins } from "./app/images/pins.ts";
import { createPrefetch } from "./app/images/prefetch.ts";
import { createPulledImages } from "./app/images/pulled-images.ts";
import { Warm } from "./app/images/warm.ts";
import { Maintenance } from "./app/maintenance.ts";
import { NodeHealth } from "./app/node-health.ts";
import { NodeNews } from "./app/node-news.ts";
import { NodeWorkers } from "./app/node-workers.ts";
import { NodeOtel } from "./app/otel.ts";
import { createPolicy, type Policy, type PolicyRules, policyRules } from "./app/policy.ts";
import { type Prepared, prepareAll } from "./app/prepared.ts";
import { PushWriters } from "./app/push-writers.ts";
import { createRouter } from "./app/router.ts";
import { Savings } from "./app/savings.ts";
import { openSharedParts, type SharedParts } from "./app/sharing.ts";
import { openStatsPage, type StatsPage } from "./app/stats-page.ts";
import { createTelemetry, type LogTerminal, type Telemetry } from "./app/telemetry.ts";
import { clientsChanged, Upstreams } from "./app/upstreams.ts";
import { VersionWatch } from "./app/version-checks.ts";
import { Webhooks } from "./app/webhooks.ts";
import { machineWith, workerCount } from "./app/worker-count.ts";
import { DeniedDigests } from "./cache/denied-digests.ts";
import { Scrubber } from "./cache/scrubber.ts";
import { mirrorUrl } from "./client-config/mirror-url.ts";
import { pageClients } from "./client-config/page-clients.ts";
import { formatBound } from "./config/address.ts";
import { applicable, type Changes } from "./config/changes.ts";
import type { Config } from "./config/config.ts";
import { formatProblem, type Problem } from "./config/problem.ts";
import { cacheSizeWarning, nodeNameWarning } from "./config/rules.ts";
import type { Gate } from "./gate/gate.ts";
import { BufferPool } from "./http/buffer-pool.ts";
import { ClientAddresses } from "./http/client-address.ts";
import { answerBounds, ColdFills, defaultLimits, openAnswers } from "./http/client-limits.ts";
import type { FairQueue } from "./http/fair-queue.ts";
import { CallerLimits } from "./http/limits/caller-limits.ts";
import { Listener, type ListenerRules } from "./http/listener.ts";
import { type ServeOptions, serve } from "./http/serve.ts";
import { traced } from "./http/traced.ts";
import { Drill } from "./ops/drill/drill.ts";
import { DrillApi } from "./ops/drill/drill-api.ts";
import { createOpsListener, type OpsListener } from "./ops/listener.ts";
import { verifiedFile } from "./ops/stats/verified-file.ts";
import { proxyFor } from "./outbound/proxy.ts";
import { type Clock, type Pause, realPause } from "./ports/clock.ts";
import { NodeProof } from "./ports/datacenter/node-proof.ts";
import type { HeardSummary, Neighbours } from "./ports/datacenter/nodes.ts";
import { upstreamById } from "./ports/datacenter/upstream-id.ts";
import type { EventSink, NoticeSink } from "./ports/event.ts";
import { type Bound, removeStale } from "./ports/listening.ts";
import { unixPeer } from "./ports/networks.ts";
import type { Proofs } from "./ports/records.ts";
import type { ServerTls } from "./ports/tls-front.ts";
import type { RequestTracing } from "./ports/tracing/span.ts";
import type { Upstream } from "./ports/upstream.ts";
import { makePseudonym } from "./ports/via.ts";
import { type DiskStore, type FreeSpace, openDiskStore } from "./storage/disk/store.ts";
import { openIndex, type SqliteIndex } from "./storage/index/sqlite-index.ts";
import type { Sink } from "./telemetry/fan-out.ts";
import type { GaugeSources } from "./telemetry/metrics/gauges.ts";
import { createNotifications, type Notifications } from "./telemetry/notifications/notifications.ts";
import { RecentActivity } from "./telemetry/recent/recent-activity.ts";
import { isMonth } from "./telemetry/savings/report.ts";
import { createUpstream } from "./upstream/http-upstream.ts";
import { userAgent, version } from "./version.ts";
import { forkWorker } from "./workers/forked-worker.ts";

/** Share of the cache's size for blobs found wrong, which are kept for inspection. */
const quarantineShare = 0.02;
/**
 * Milliseconds after the last request and download that began before it was removed, in which an upstream may still be
 * asked by what nobody waits for.
 */
const removedUpstreamRest = 60_000;
/** Changes named in one line of the log. */
const maxNamed = 100;
/** Share of the cache's size for the beginnings of blobs that no client waits for any more. */
const keptShare = 0.125;

export interface App {
  /** Resolves with the bound addresses. Rejects with StoreError, or the system's error for a taken port. */
  start(): Promise<{ readonly listen: Bound; readonly ops: Bound }>;
  /** Reports it on /readyz, then stops accepting and resolves when every answer under way has ended. No bound. */
  drain(): Promise<void>;
  /** Cuts what is left and closes everything. Idempotent; also after a failed start. */
  stop(): Promise<void>;
  /** Logs a signal that ends nothing. */
  heard(signal: string): void;
  /**
   * Makes the changes ready, and changes nothing yet: of what is only read at the start, nothing ever. Throws why it
   * cannot be done. Only while the node runs.
   */
  prepare(config: Config, changes: Changes): Prepared;
  /** Takes over a configuration that was read again, all of it or nothing, and logs what has come of it: true when taken. */
  reload(read: ReadAgain): boolean;
}

/** The configuration read while the program runs. */
export type ReadAgain =
  | {
      readonly ok: true;
      readonly config: Config;
      readonly changes: Changes;
      readonly warnings: readonly Problem[];
    }
  | { readonly ok: false; readonly problems: readonly Problem[] };

export interface BuildOptions {
  readonly log?: Logger;
  /** See TelemetryOptions. */
  readonly terminal?: LogTerminal | undefined;
  readonly clock?: Clock;
  /** For intervals (ports/clock.ts); the clock itself when only that is given. */
  readonly steady?: Clock;
  /** Default: real time. */
  readonly pause?: Pause;
  /** Sinks besides the program's own. */
  readonly sinks?: readonly Sink[];
  /** See workerCount. */
  readonly memoryLimit?: number | undefined;
  /** Whether upstreams are asked, at the start and while nobody else asks them, if they are there. Default: false. */
  readonly checkUpstreams?: boolean;
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
  readonly upstreams: Upstreams;
  readonly shared: SharedParts;
  readonly policy: Policy;
  readonly pushes: PushWriters;
  readonly access: Access;
  /** By name of the upstream. */
  coldFills: ReadonlyMap<string, ColdFills>;
  callerLimits: CallerLimits | undefined;
  readonly serves: LastingServeOptions;
  readonly answers: FairQueue;
  readonly scrubber: Scrubber;
  readonly maintenance: Maintenance;
  readonly listener: Listener;
}

class Entrepot implements App {
  /** A reload replaces these three; what may change of them is read at every use. */
  #config: Config;
  readonly #memoryLimit: number;
  #rules: PolicyRules;
  #proxies: ClientAddresses;
  /** How reading the configuration went the last time. */
  #lastReload: { successful: boolean; successAt: number };
  readonly #clock: Clock;
  readonly #steady: Clock;
  readonly #pause: Pause;
  readonly #pseudonym = makePseudonym();
  /** Undefined: nodes sign nothing. */
  readonly #nodeProof: NodeProof | undefined;
  readonly #health: NodeHealth;
  readonly #activity: RecentActivity;
  /** Undefined: upstreams are asked only for clients. */
  readonly #versions: VersionWatch | undefined;
  readonly #savings: Savings;
  readonly #drill: Drill;
  readonly #telemetry: Telemetry;
  readonly #otel: NodeOtel;
  readonly #log: Logger;
  readonly #notices: NoticeSink;
  readonly #notifications: Notifications;
  readonly #warm: Warm;
  readonly #pins: Pins;
  readonly #commands: ImageCommands;
  readonly #imports = new Imports(() => this.#config);
  readonly #blocks: Blocks;
  readonly #webhooks: Webhooks;
  readonly #stopping = new AbortController();
  /** Closes in the reverse order of opening, whatever of it was opened. */
  readonly #opened = new AsyncDisposableStack();
  /** Of the listeners that speak TLS. */
  readonly #certificates: { listenTls?: CertificateFiles; opsTls?: CertificateFiles } = {};
  #storage: Storage | undefined;
  #stats: StatsPage | undefined;
  #ops: OpsListener | undefined;
  #news: NodeNews | undefined;
  #workers: NodeWorkers | undefined;
  #serving: Serving | undefined;
  /** The port clients pull from, once it is known. */
  #port = 0;

  constructor(
    config: Config,
    {
      log,
      terminal,
      clock = Date.now,
      steady,
      pause = realPause,
      sinks = [],
      memoryLimit = 0,
      checkUpstreams = false,
    }: BuildOptions,
  ) {
    this.#config = config;
    this.#memoryLimit = memoryLimit;
    this.#rules = policyRules(config);
    this.#proxies = new ClientAddresses(trustedBy(config));
    this.#lastReload = { successful: true, successAt: clock() };
    this.#clock = clock;
    this.#pause = pause;
    const { secret, address } = config.node;
    this.#nodeProof = secret && new NodeProof(secret, clock, address && new URL(address).host);
    this.#steady = steady ?? (clock === Date.now ? steadyFrom(clock()) : clock);
    this.#health = new NodeHealth(() => {
      if (!this.#stopping.signal.aborted) void this.#serving?.maintenance.checkStore();
    });
    this.#activity = new RecentActivity({ upstreams: config.upstreams.map(({ name }) => name), clock });
    this.#versions = checkUpstreams ? this.#createVersionWatch() : undefined;
    this.#savings = new Savings({
      config: () => this.#config,
      clock,
      notices: (notice) => this.#notices(notice),
    });
    const { ledger } = this.#savings;
    const endpoints = config.notifications?.endpoints ?? [];
    this.#telemetry = createTelemetry({
      config,
      log,
      terminal,
      gauges: this.#gauges(),
      notifications: {
        endpoints: endpoints.map(({ name }) => name),
        pending: (endpoint) => this.#notifications.pending(endpoint),
      },
      savings: ledger,
      sinks: [
        { name: "health", onNotice: (notice) => this.#health.onNotice(notice) },
        { name: "workers", onNotice: (notice) => this.#workers?.onNotice(notice) },
        {
          name: "notifications",
          onEvent: (event) => this.#notifications.onEvent(event),
          onNotice: (notice) => this.#notifications.onNotice(notice),
        },
        { name: "stats", onEvent: this.#activity.onEvent, onNotice: this.#activity.onNotice },
        { name: "versions", onNotice: (notice) => this.#versions?.onNotice(notice) },
        { name: "savings", onEvent: ledger.onEvent, onNotice: ledger.onNotice },
        ...sinks,
      ],
    });
    this.#opened.defer(() => this.#telemetry.flush());
    this.#log = this.#telemetry.log;
    this.#otel = new NodeOtel({ config, metrics: this.#telemetry.metrics, log: this.#log });
    this.#opened.defer(() => this.#otel.close());
    this.#drill = new Drill({
      node: config.node.name,
      clock,
      steady: this.#steady,
      changed: (drill) =>
        this.#log.warn(
          { clients: drill.clients, node: drill.node, until: new Date(drill.endsAt).toISOString() },
          drill.clients.length === 0
            ? "the drill was ended before its time"
            : "a drill is on: for these clients every upstream counts as away",
        ),
    });
    this.#notices = this.#telemetry.notices;
    const instanceID = randomUUID();
    this.#notifications = createNotifications({
      endpoints,
      source: () => ({ addr: `${hostname()}:${this.#port}`, instanceID }),
      notices: this.#notices,
      userAgent,
      clock,
      pause,
    });
    this.#opened.defer(() => this.#notifications.close());
    this.#warm = new Warm({ ...this.#common(), config: () => this.#config, log: this.#log });
    this.#pins = new Pins({
      ...this.#common(),
      config: () => this.#config,
      warm: this.#warm,
      log: this.#log,
    });
    this.#commands = new ImageCommands({ ...this.#common(), config: () => this.#config, log: this.#log });
    this.#blocks = new Blocks({
      ...this.#common(),
      config: () => this.#config,
      health: this.#health.checks,
      log: this.#log,
    });
    this.#webhooks = new Webhooks(() => this.#config, this.#notices, this.#warm);
  }

  async start(): Promise<{ listen: Bound; ops: Bound }> {
    await this.#otel.open(this.#workerCount > 1);
    const storage = await this.#openStorage();
    const maintenance = this.#createMaintenance(storage);
    await this.#openCertificates();
    const opsAddress = await this.#openOps(storage);
    const listener = await this.#openServing(storage, maintenance);
    const listenAddress = await this.#listen(listener);
    this.#port = listenAddress.port;
    this.#health.checks.set("listening", true);
    const { swept } = storage.store;
    if (swept > 0) this.#log.info({ files: swept }, "removed what interrupted fills had left");
    const addresses = { listen: formatBound(listenAddress), ops: formatBound(opsAddress) };
    this.#log.info({ version, ...addresses }, "listening");
    for (const { name, url, proxy } of this.#config.upstreams) {
      const server = proxyFor(proxy, url);
      if (server !== undefined)
        this.#log.info({ upstream: name, proxy: server.name }, "asked through a proxy");
    }
    for (const { name, access, auth } of this.#config.upstreams)
      if (access === "passthrough" && auth.kind === "none")
        this.#log.info(
          { upstream: name },
          "asked with the credentials of its callers, and no account for what no caller waits for: nothing is fetched ahead or again before a client asks for it",
        );
    return { listen: listenAddress, ops: opsAddress };
  }

  /** Where the clients connect: here or, when there are any, at the workers. */
  async #listen(listener: Listener): Promise<Bound> {
    const workers = this.#workers;
    const { listen } = this.#config;
    await removeStale(listen);
    if (workers === undefined) return await listener.listen(listen);
    // Left by a process that was killed.
    await rm(workers.socket, { force: true });
    await listener.listen({ path: workers.socket, mode: 0o600 });
    return await workers.processes.start();
  }

  async #openStorage(): Promise<Storage> {
    const { cache } = this.#config;
    const proofs = proofsOf(this.#config);
    const store = await openDiskStore({
      directory: cache.dir,
      quarantineBytes: () => this.#config.cache.maxSize * quarantineShare,
      keptBytes: () => this.#config.cache.maxSize * keptShare,
      clock: this.#clock,
      pause: this.#pause,
    });
    this.#opened.defer(() => store.close());
    for (const warning of [cacheSizeWarning(cache), nodeNameWarning(this.#config)])
      if (warning !== undefined) this.#log.warn(warning);
    const index = await store.withRoom(() =>
      openIndex({
        directory: cache.dir,
        clock: this.#clock,
        notice: this.#notices,
        proofs,
        smallBlob: cache.smallBlob,
      }),
    );
    this.#opened.defer(() => this.#closeIndex(index));
    this.#savings.open(index.savings);
    this.#opened.defer(() => this.#savings.close());
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

  #createVersionWatch(): VersionWatch {
    return new VersionWatch({
      upstreams: () => this.#config.upstreams,
      available: (name) =>
        this.#serving?.upstreams.all.some((upstream) => upstream.name === name && upstream.available) ??
        false,
      notices: (notice) => this.#notices(notice),
      steady: this.#steady,
      signal: this.#stopping.signal,
    });
  }

  /** Rejects with why a listener's certificate cannot be used. */
  async #openCertificates(): Promise<void> {
    const used = {
      listenTls: (tls: ServerTls) => {
        this.#serving?.listener.useTls(tls);
        this.#workers?.use(this.#config, limitsOf(this.#config));
      },
      opsTls: (tls: ServerTls) => this.#ops?.useTls(tls),
    };
    for (const name of ["listenTls", "opsTls"] as const) {
      const files = this.#config[name];
      if (files === undefined) continue;
      const options = { name, files, changed: used[name], log: this.#log };
      const certificate = await CertificateFiles.open({
        ...options,
        clock: this.#steady,
        pause: this.#pause,
      });
      this.#certificates[name] = certificate;
      void certificate.watch(this.#stopping.signal);
    }
  }

  /** The second listener: health, metrics, the stats page, the API with its jobs, and webhooks. */
  async #openOps({ store, index }: Storage): Promise<Bound> {
    const { opsListen, node } = this.#config;
    const peerOf = ({ remoteAddress }: Socket) => remoteAddress ?? ("path" in opsListen ? unixPeer : "");
    const stats = await openStatsPage({
      ...this.#common(),
      config: () => this.#config,
      freshness: () => this.#rules.freshness,
      name: node.name,
      address: node.address,
      version,
      activity: this.#activity,
      health: this.#health.checks,
      disk: () => this.#health.space,
      troubles: () => this.#health.troubles,
      running: () => ({ store, index, ...this.#running() }),
      notifications: this.#notifications,
      savings: this.#savings,
      blocks: this.#blocks,
      drill: this.#drill,
      jobs: () => this.#warm.jobs.list(),
      store,
      index,
      mirrorUrl: () => mirrorUrl(this.#config, this.#port),
      clients: () => pageClients(this.#config, mirrorUrl(this.#config, this.#port)),
    });
    this.#stats = stats;
    this.#opened.defer(() => stats.close());
    const listener = createOpsListener({
      tls: this.#certificates.opsTls?.tls,
      health: this.#health.checks,
      metrics: this.#telemetry.metrics,
      log: this.#log,
      webhooks: this.#webhooks.receiver,
      stats: stats.pages,
      api: stats.api,
      changing: [
        this.#warm.api,
        new DrillApi(this.#drill, () => void this.#news?.exchange()),
        this.#pins.api,
        this.#blocks.api,
        this.#commands.api,
        this.#imports.api,
      ],
      hosts: () => [
        ...("host" in opsListen ? [opsListen.host] : []),
        node.name,
        ...(node.address === undefined ? [] : [new URL(node.address).hostname]),
        ...(this.#config.opsHosts ?? []),
      ],
      basePath: () => this.#config.opsBasePath ?? "",
      forwardedPrefix: ({ headers, socket }) => this.#proxies.forwardedPrefix(headers, peerOf(socket)),
      access: () => this.#config.opsAccess,
      networkOf: (request) => this.#proxies.of(request, peerOf(request.socket)).network,
      clock: this.#steady,
    });
    this.#ops = listener;
    this.#opened.defer(() => listener.close());
    await removeStale(opsListen);
    return await listener.listen(opsListen);
  }

  /** The request's event, with whether a drill was on for its client. */
  readonly #onEvent: EventSink = (event) => {
    const { onEvent } = this.#telemetry;
    // Another node asks for clients of its own.
    const isDrilled = event.ofNode !== true && this.#drill.covers(event.client);
    onEvent(isDrilled ? { ...event, drill: true } : event);
  };

  /** What clients are answered by: the listener of a node with workers is theirs. */
  get #answering(): { readonly inFlight: number } | undefined {
    return this.#workers?.processes ?? this.#serving?.listener;
  }

  /** What the stats page shows of the parts that serve. */
  #running() {
    const serving = this.#serving;
    if (serving === undefined) return {};
    const { shared, policy } = serving;
    const listener = this.#answering;
    const scrubber = this.#config.cache.scrub === 0 ? undefined : serving.scrubber;
    const { access, local, blobs } = policy;
    const { siblings } = shared.sharing;
    return { upstreams: serving.upstreams.all, siblings, shared, access, local, blobs, listener, scrubber };
  }

  /** The policy over the opened store and index, and the listener in front of it, which does not listen yet. */
  async #openServing({ store, index }: Storage, maintenance: Maintenance): Promise<Listener> {
    const config = this.#config;
    const common = this.#common();
    const upstreams = new Upstreams(config.upstreams, (upstream) =>
      createUpstream(upstream, { ...common, clock: this.#steady, pseudonym: this.#pseudonym }),
    );
    this.#opened.defer(() => upstreams.close());
    const shared = await openSharedParts({
      ...common,
      config,
      settings: () => this.#config,
      pseudonym: this.#pseudonym,
      proof: this.#nodeProof,
      store,
      // There is nothing to upload before the policy stands.
      check: (digest) => policy.local.checks.check(digest, "upload"),
      own: index,
    });
    this.#tellOthers(shared);
    this.#blocks.open(index.blocks, index.graph);
    index.blobs.onChildren(this.#blocks.childrenSet);
    this.#opened.defer(() => this.#blocks.stop());
    const { verdicts } = this.#blocks;
    const workers = this.#openWorkers(index, shared);
    const policy = createPolicy({
      ...common,
      rules: () => this.#rules,
      store,
      index: index.blobs,
      answers: index.answers,
      history: index.history,
      pins: index.pins,
      verdicts,
      workers: workers?.processes,
      shared: workers === undefined ? shared : { ...shared, ...workers.announced(shared) },
      upstreams: () => upstreams.all,
      repositoriesOf: (digest, limit) => index.links.repositoriesOf(digest, limit),
      freeSpace: () => this.#freeSpace(store),
    });
    this.#opened.defer(async () => {
      // At once: a fill may be waiting for S3 or another node.
      await Promise.all([policy.blobs.stop(new Error("this node is stopping")), shared.close()]);
    });
    const pushes = new PushWriters({
      ...common,
      clock: this.#steady,
      pseudonym: this.#pseudonym,
      caches: policy,
      verdicts,
    });
    this.#opened.defer(() => pushes.close());
    pushes.prepare(config.upstreams, limitsOf(config), new Set()).apply();
    const access = new Access({
      log: this.#log,
      notices: this.#notices,
      clock: this.#clock,
      steady: this.#steady,
      pause: this.#pause,
      changed: () => void workers?.processes.forget({}),
    });
    this.#opened.defer(() => access.close());
    await access.open(config.access);
    const admission = access.prepare(config.access);
    admission.apply();
    const scrubber = new Scrubber({
      ...common,
      interval: () => this.#config.cache.scrub,
      index: index.blobs,
      checks: policy.local.checks,
    });
    const answers = openAnswers(limitsOf(config));
    const coldFills = coldFillsOf(config, new Map());
    const callerLimits = this.#callerLimitsOf(config);
    const denied = new DeniedDigests(index.graph, this.#notices);
    const serves: LastingServeOptions = {
      blobs: policy.blobs,
      manifests: policy.manifests,
      confirmations: policy.confirmations,
      listings: policy.listings,
      index: index.blobs,
      pool: new BufferPool(),
      nodeProof: this.#nodeProof,
      nodeQuestions: this.#stats && {
        summary: this.#stats.node,
        holds: async (digest) => (await verifiedFile(store, index.blobs, digest)) !== undefined,
        reported: this.#stats.reported,
        repositories: (id, last, limit) => {
          const upstream = upstreamById(this.#config.upstreams, id);
          return upstream && index.blobs.repositories(upstream.name, last, limit);
        },
        pulled: createPulledImages({
          graph: index.graph,
          tags: shared.tags,
          upstreams: () => this.#config.upstreams,
          clock: this.#clock,
        }),
        pins: () => this.#pins.told(),
        tagStays: (id, repository, tag) => {
          const upstream = upstreamById(this.#config.upstreams, id);
          return upstream && index.history.of({ upstream: upstream.name, repository }, tag);
        },
        savings: (month) => (isMonth(month) ? this.#savings.told(month) : undefined),
        command: async (...asked) =>
          (await this.#commands.command(...asked)) ?? (await this.#blocks.command(...asked)),
      },
      neighbours: this.#neighbours(shared),
      denied,
      prefetch: createPrefetch({ ...common, config: () => this.#config, policy, graph: index.graph, denied }),
      drill: this.#drill,
      pseudonym: this.#pseudonym,
      answers,
      readiness: () => this.#health.checks.readiness(),
      unexpected: (error) => this.#log.error({ err: error }, "a request failed in a way nobody foresaw"),
    };
    const ofWorkers = workers !== undefined;
    const listener = new Listener({
      ...listenerRules(
        config,
        upstreams.all,
        pushes,
        { coldFills, callerLimits, gate: admission.gate },
        serves,
        this.#otel.tracing,
      ),
      // A worker keeps its connections to the primary.
      ...(ofWorkers ? { timeouts: { keepAlive: 0 } } : {}),
      ofWorkers,
      tls: ofWorkers ? undefined : this.#certificates.listenTls?.tls,
      maxConnections: connectionLimit(),
      pseudonym: this.#pseudonym,
      unexpected: serves.unexpected,
      onEvent: this.#onEvent,
    });
    this.#opened.defer(() => listener.stop());
    this.#webhooks.attach({ upstreams: () => upstreams.all, caches: policy, tags: shared.tags });
    this.#opened.defer(() => this.#webhooks.stop());
    this.#warm.attach({
      upstreams: () => upstreams.all,
      policy,
      denied: serves.denied,
      neighbours: this.#neighbours(shared),
    });
    this.#opened.defer(() => this.#warm.stop());
    this.#pins.attach({
      store: index.pins,
      graph: index.graph,
      index: index.blobs,
      tags: shared.tags,
      ownTags: index.tags,
      neighbours: this.#neighbours(shared),
    });
    this.#opened.defer(() => this.#pins.stop());
    this.#imports.attach({ policy, shared });
    this.#opened.defer(() => this.#imports.stop());
    this.#opened.defer(() => this.#commands.stop());
    await this.#commands.attach({
      store,
      index,
      policy,
      shared,
      upstreams: () => upstreams.all,
      neighbours: this.#neighbours(shared),
      forgetWorkers: async () => await workers?.processes.forget({}),
    });
    await this.#blocks.attach({
      blobs: policy.blobs,
      workers: workers?.processes,
      exchange: shared.blocks,
      announcements: shared.announcements,
      commands: shared.otherNodes,
      neighbours: this.#neighbours(shared),
    });
    this.#serving = {
      upstreams,
      shared,
      policy,
      pushes,
      access,
      coldFills,
      callerLimits,
      serves,
      answers,
      scrubber,
      maintenance,
      listener,
    };
    maintenance.start({
      eviction: policy.eviction,
      scrubber,
      refreshAhead: policy.refreshAhead,
      versions: this.#versions,
      pins: this.#pins,
      checkShared: () => shared.check(),
      uploadOverdue: async () => {
        // What was purged while this node was away is not to come back to S3.
        await this.#commands.heardOthers;
        await shared.catchUp(index.blobs, this.#stopping.signal);
      },
    });
    return listener;
  }

  #neighbours({ otherNodes }: Pick<SharedParts, "otherNodes">): Neighbours {
    return { nodes: otherNodes, list: () => this.#stats?.datacenter.neighbours() ?? [] };
  }

  /** Tells the other nodes of this one, and hears of them. */
  #tellOthers({ summaries }: SharedParts): void {
    const stats = this.#stats;
    if (summaries === undefined || stats === undefined) return;
    const heard = (others: readonly HeardSummary[]): void => {
      stats.datacenter.heard(others);
      for (const { summary } of others) if (summary.drill) this.#drill.heard(summary.drill);
    };
    this.#news = new NodeNews({ summaries, own: stats.node, datacenter: { heard } });
    this.#opened.defer(() => this.#news?.close());
  }

  get #workerCount(): number {
    return workerCount(this.#config.workers, machineWith(this.#memoryLimit));
  }

  #openWorkers(index: SqliteIndex, { announcements }: SharedParts): NodeWorkers | undefined {
    const count = this.#workerCount;
    if (count === 1) return undefined;
    const workers = new NodeWorkers({
      count,
      fork: forkWorker,
      config: this.#config,
      limits: limitsOf(this.#config),
      pseudonym: this.#pseudonym,
      tls: () => this.#certificates.listenTls?.tls,
      onEvent: this.#onEvent,
      lost: (events) => this.#telemetry.metrics.lost("workers", events),
      otel: this.#otel.forWorkers,
      spansLost: (spans, reason) => this.#otel.lost(spans, reason),
      index: index.blobs,
      asked: (scope, tag) => {
        // By clients in a drill perhaps, who cause no questions: workers know of no drill.
        if (!this.#drill.isOn) this.#serving?.policy.refreshAhead.asked(scope, tag);
      },
      readiness: () => this.#health.checks.readiness(),
      unreadable: (digest) => void this.#serving?.policy.local.checks.check(digest, "read"),
      log: this.#log,
      clock: this.#steady,
      pause: this.#pause,
    });
    this.#opened.defer(() => workers.stop());
    index.links.onEnd(({ upstream }) => void workers.processes.forget({ upstream }));
    announcements?.subscribe(
      (announcement) => workers.heard(announcement),
      () => void workers.processes.forget({}),
    );
    this.#workers = workers;
    return workers;
  }

  /** Those from before go on when their rules are the same: nobody may begin anew. */
  #callerLimitsOf(config: Config, before?: CallerLimits): CallerLimits | undefined {
    const { rules } = limitsOf(config);
    if (rules.length === 0) return undefined;
    if (before !== undefined && isDeepStrictEqual(before.rules, rules)) return before;
    return new CallerLimits(rules, { notices: this.#notices, clock: this.#steady });
  }

  #common() {
    return { notices: this.#notices, clock: this.#clock, steady: this.#steady, pause: this.#pause };
  }

  async drain(): Promise<void> {
    this.#health.checks.draining(true);
    this.#workers?.processes.tellReadiness();
    void this.#news?.exchange();
    const { drainDelay, drainTimeout } = this.#config;
    // Half of the time at least is for the transfers under way.
    const delay = Math.min(drainDelay, drainTimeout / 2);
    this.#log.info({ delay_ms: delay }, "draining");
    this.#stats?.pages.end();
    await this.#pause(delay, this.#stopping.signal).catch(() => {});
    // They ask this process until their last answer has ended.
    await this.#workers?.processes.drain();
    await this.#serving?.listener.drain();
    await Promise.all([this.#notifications.flush(), this.#otel.flush()]);
    this.#log.info("drained");
  }

  heard(signal: string): void {
    this.#log.info({ signal }, "a signal without a meaning here");
  }

  // ---- reload -------------------------------------------------------------------------------------------------

  prepare(read: Config, { applied }: Changes): Prepared {
    const serving = this.#serving;
    if (serving === undefined || this.#health.checks.isDraining())
      throw new Error("the node is starting or stopping");
    const config = applicable(this.#config, read);
    if (passingOf(config).join() !== passingOf(this.#config).join())
      throw new Error("access: passthrough begins and ends with a restart, for an upstream as for all");
    const rules = policyRules(config);
    const proxies = new ClientAddresses(trustedBy(config));
    const changed = clientsChanged(
      applied,
      config.upstreams.map(({ name }) => name),
    );
    const { policy, pushes, listener, shared } = serving;
    let upstreams: readonly Upstream[] = [];
    let gate: Gate | undefined;
    const coldFills = coldFillsOf(config, serving.coldFills);
    const callerLimits = this.#callerLimitsOf(config, serving.callerLimits);
    return prepareAll(
      () => {
        const prepared = serving.upstreams.prepare(config.upstreams, changed);
        upstreams = prepared.next;
        return prepared;
      },
      () => pushes.prepare(config.upstreams, limitsOf(config), changed),
      () => {
        const prepared = serving.access.prepare(config.access);
        gate = prepared.gate;
        return prepared;
      },
      () => {
        const bounds = { coldFills, callerLimits, gate };
        const { tracing } = this.#otel;
        const rules = listenerRules(config, upstreams, pushes, bounds, serving.serves, tracing);
        return { apply: listener.prepare(rules), discard: () => {} };
      },
      () => ({
        apply: () => {
          const names = config.upstreams.map(({ name }) => name);
          const before = this.#config.upstreams;
          this.#config = config;
          this.#dropChecks(before);
          this.#blocks.useFile(config.block?.file);
          this.#rules = rules;
          this.#proxies = proxies;
          serving.coldFills = coldFills;
          serving.callerLimits = callerLimits;
          serving.answers.bound(answerBounds(limitsOf(config)));
          this.#workers?.use(config, limitsOf(config));
          for (const { name, maxConnections } of config.upstreams)
            coldFills.get(name)?.bound(maxConnections, limitsOf(config));
          this.#telemetry.metrics.useUpstreams(names);
          this.#activity.useUpstreams(names);
          this.#savings.ledger.use(config);
          shared.useUpstreams(config.upstreams);
          policy.eviction.check();
          serving.scrubber.start();
          this.#warm.keepTime();
          void this.#pins.look();
          void this.#endReplaced(serving).catch(() => {});
        },
        discard: () => {},
      }),
    );
  }

  reload(read: ReadAgain): boolean {
    const fail = (fields: object): false => {
      this.#lastReload.successful = false;
      this.#log.error(fields, "the configuration was read again and cannot be used: nothing has changed");
      return false;
    };
    if (!read.ok) return fail({ problems: read.problems.slice(0, maxNamed).map(formatProblem) });
    const { config, changes, warnings } = read;
    const before = this.#log.level;
    try {
      this.prepare(config, changes).apply();
    } catch (error) {
      return fail({ err: error });
    }
    this.#lastReload = { successful: true, successAt: this.#clock() };
    // The lines below are written under either level that would have them.
    const { level } = config.log;
    if (severity(this.#log, level) < severity(this.#log, before)) this.#telemetry.setLevel(level);
    for (const warning of warnings) this.#log.warn(formatProblem(warning));
    for (const { text } of changes.needRestart) this.#log.warn({ change: text }, "needs a restart");
    const changed = changes.applied.map(({ text }) => text);
    if (changed.length === 0) this.#log.info("the configuration was read again: nothing has changed");
    else
      this.#log.info(
        { changed: changed.slice(0, maxNamed), more: Math.max(0, changed.length - maxNamed) || undefined },
        "the configuration was read again and is used from now on",
      );
    this.#telemetry.setLevel(level);
    return true;
  }

  /** Closes what a reload has replaced or removed, once the requests and downloads of before have ended. */
  async #endReplaced({ upstreams, pushes, policy, listener }: Serving): Promise<void> {
    const [removed, targets] = [upstreams.retired, pushes.retired];
    if (removed.length + targets.length === 0) return;
    await listener.settled();
    await pushes.end(targets);
    const left = policy.blobs.fillings.filter(({ remote }) =>
      removed.some(({ name }) => name === remote.upstream),
    );
    await Promise.all(left.map(({ fill }) => fill.done));
    await this.#pause(removedUpstreamRest, this.#stopping.signal);
    await upstreams.end(removed);
    this.#dropChecks(removed);
  }

  /** Leaves out of /readyz what it says of upstreams that there are no more, or that are not asked any more. */
  #dropChecks(upstreams: readonly { readonly name: string }[]): void {
    for (const { name } of upstreams)
      if (!this.#config.upstreams.some((each) => each.name === name && each.offline !== true))
        this.#health.checks.drop(`upstream ${name}`);
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
    const { s3 } = this.#config;
    const totals = () => this.#storage?.index.blobs.totals();
    return {
      fillsRunning: () => this.#serving?.policy.blobs.fills.length,
      followers: () => this.#serving?.policy.blobs.fills.reduce((sum, fill) => sum + fill.followers, 0),
      cacheBytes: (store) => (store === "disk" ? totals()?.bytes : this.#serving?.shared.storedBytes()),
      cacheLimitBytes: (store) => (store === "disk" ? this.#config.cache.maxSize : s3?.maxSize),
      cacheObjects: (store) => (store === "disk" ? totals()?.count : undefined),
      spoolBytes: () => this.#storage?.store.spoolBytes,
      quarantineBytes: () => this.#storage?.store.quarantined.bytes,
      oldestCheckAge: () => {
        const at = this.#running().scrubber?.oldestCheck;
        return at === undefined || at === 0 ? undefined : Math.max(0, this.#clock() - at) / 1000;
      },
      cacheDiskFreeBytes: () => this.#health.space?.free,
      cacheDiskFreeInodes: () => this.#health.space?.files?.free,
      pendingUploads: () => this.#serving?.shared.pendingUploads(),
      imagesPulled: () => this.#stats?.readiness()?.pulled,
      drillActive: () => this.#drill.isOn,
      imagesReady: () => this.#stats?.readiness()?.ready,
      pinnedImages: () => this.#pins.counts?.images,
      pinnedImagesWhole: () => this.#pins.counts?.whole,
      pinnedBytes: () => this.#pins.counts?.heldBytes,
      pinBudgetBytes: () => this.#pins.budget,
      blockedDigests: () => this.#blocks.list.size,
      httpInFlightRequests: () => this.#answering?.inFlight,
      ready: () => this.#health.checks.ready(),
      draining: () => this.#health.checks.isDraining(),
      configLastReloadSuccessful: () => this.#lastReload.successful,
      certificateExpiry: (listener) =>
        this.#certificates[listener === "ops" ? "opsTls" : "listenTls"]?.expiry,
      configLastReloadSuccess: () => this.#lastReload.successAt / 1000,
    };
  }
}

/** Fixed at the start: what links were found to count is remembered. */
function proofsOf(config: Config): (upstream: string) => Proofs {
  const passing = new Set(passingOf(config));
  return (upstream) => (passing.has(upstream) ? "none" : config.proofs);
}

/** The upstreams that say themselves what a caller may have. Their links have been made by other rules. */
function passingOf({ upstreams }: Config): readonly string[] {
  return upstreams.flatMap(({ name, access }) => (access === "passthrough" ? [name] : []));
}

function trustedBy({ trustedProxies = [] }: Config): { readonly trustedProxies: readonly string[] } {
  return { trustedProxies };
}

function limitsOf({ limits }: Config): NonNullable<Config["limits"]> {
  return limits ?? { ...defaultLimits, exempt: [], rules: [] };
}

/** For every upstream the places there are, with new ones where there are none yet. */
function coldFillsOf(config: Config, before: ReadonlyMap<string, ColdFills>): ReadonlyMap<string, ColdFills> {
  return new Map(
    config.upstreams.map(({ name, maxConnections }) => [
      name,
      before.get(name) ?? new ColdFills(maxConnections, limitsOf(config)),
    ]),
  );
}

/** What a reload replaces of how requests are served, and what it does not. */
type ReplacedServeOptions = Pick<
  ServeOptions,
  "router" | "push" | "coldFills" | "callerLimits" | "catalog" | "basePath" | "rangesBeforeVerified" | "gate"
>;
type LastingServeOptions = Omit<ServeOptions, keyof ReplacedServeOptions>;

/** What a configuration says of how requests are served. `upstreams` are its upstreams, in the same order. */
function listenerRules(
  config: Config,
  upstreams: readonly Upstream[],
  pushes: PushWriters,
  bounds: Pick<ReplacedServeOptions, "coldFills" | "callerLimits" | "gate">,
  lasting: LastingServeOptions,
  tracing: RequestTracing | undefined,
): ListenerRules {
  const { catalog, cacheStatus, serverTiming, via, trustedProxies = [], basePath = "" } = config;
  const takesWrites = config.upstreams.some(({ push }) => push);
  const replaced: ReplacedServeOptions = {
    ...bounds,
    router: createRouter(config, upstreams),
    ...(takesWrites ? { push: (upstream) => pushes.of(upstream) } : {}),
    rangesBeforeVerified: config.cache.rangesBeforeVerified,
    catalog,
    basePath,
  };
  const options = { ...lasting, ...replaced };
  return {
    serve: traced((exchange) => void serve(exchange, options), tracing),
    certificates: config.access?.certificates,
    trustedProxies,
    exempt: limitsOf(config).exempt,
    basePath,
    cacheStatus,
    serverTiming,
    via,
  };
}

/** How severe a message has to be at that level. */
function severity(log: Logger, level: string): number {
  return log.levels.values[level] ?? Number.POSITIVE_INFINITY;
}

/** The clock's time now, and from then on the time that has passed, even when the clock is set. */
function steadyFrom(now: number): Clock {
  const start = now - performance.now();
  return () => start + performance.now();
}
