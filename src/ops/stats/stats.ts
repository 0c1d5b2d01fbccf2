// Gathers the document of the stats page from the running parts. Cheap enough for every two seconds: counters and a
// few reads of the index, nothing that waits.
import type { BlobCache } from "../../cache/blob-cache.ts";
import type { Config } from "../../config/config.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NodeSummary } from "../../ports/datacenter/nodes.ts";
import type { SiblingVerdict } from "../../ports/datacenter/sibling-verdict.ts";
import type { TagHistory } from "../../ports/history/tag-history.ts";
import type { ClosableUpstream } from "../../ports/upstream.ts";
import type { ActivityState, RecentActivity } from "../../telemetry/recent/recent-activity.ts";
import type { SavingsDocument } from "../../telemetry/savings/savings-document.ts";
import type { BlockReport } from "../block/block-report.ts";
import type { Drill } from "../drill/drill.ts";
import type { Health } from "../health.ts";
import { count, duration } from "../page/format.ts";
import type { Datacenter, DatacenterDocument } from "./datacenter.ts";
import { nodeSummary } from "./node-summary.ts";
import { RuntimeWatch } from "./runtime-watch.ts";
import type {
  JudgedStats,
  MovedTag,
  QueueStats,
  RunningFill,
  ScrubStats,
  ServiceStats,
  SiblingStats,
  StatsDocument,
  StoreStats,
  UpstreamStats,
  Verdict,
} from "./stats-document.ts";
import { verdictOf } from "./verdict.ts";

export interface StatsOptions {
  /** Of now. */
  readonly config: () => Pick<Config, "upstreams" | "cache" | "opsPage">;
  /** How clients reach the mirror. */
  readonly mirrorUrl: () => string;
  /** How clients are pointed at it. Left out: nothing is said of it. */
  readonly clients?: () => StatsDocument["clients"];
  /** Of this node, among those of its datacenter. */
  readonly name: string;
  readonly version: string;
  /** Where the other nodes reach this one. */
  readonly address?: string | undefined;
  /** What is known of the others. */
  readonly datacenter: Pick<Datacenter, "document">;
  /** Digests that are given to nobody; left out: there are none. */
  readonly blocked?: (() => readonly BlockReport[]) | undefined;
  /** Left out: there is never one. */
  readonly drill?: Pick<Drill, "state" | "told"> | undefined;
  readonly clock: Clock;
  /** The clock of fills. */
  readonly steady: Clock;
  readonly activity: RecentActivity;
  readonly health: Pick<Health, "ready" | "isDraining" | "failing">;
  /** Bytes of the file system under the cache; undefined until they were first read. */
  readonly disk: () => { readonly free: number; readonly total: number } | undefined;
  /** What else is wrong here, by the name of the part, for people. */
  readonly troubles?: () => Readonly<Record<string, string | undefined>>;
  /** What runs now; parts are missing during start and stop. */
  readonly running: () => {
    readonly upstreams?: readonly Pick<ClosableUpstream, "name" | "active" | "circuit">[];
    readonly blobs?: Pick<BlobCache, "fillings">;
    readonly index?: {
      readonly blobs: { totals(): { readonly bytes: number; readonly count: number } };
      readonly history: Pick<TagHistory, "movedSince">;
    };
    readonly listener?: { readonly inFlight: number } | undefined;
    readonly scrubber?: { readonly oldestCheck: number | undefined } | undefined;
    readonly siblings?: { readonly verdicts: readonly SiblingVerdict[] } | undefined;
    readonly store?: { readonly quarantined: { readonly bytes: number } };
  };
  /** Names of what this node shares with others: `redis`, `s3`. */
  readonly services?: readonly string[];
  readonly queues?: () => readonly QueueStats[];
  /** What this node has saved this month. Throws StoreError. */
  readonly savings: () => SavingsDocument;
}

/** All throw StoreError when the index cannot be read. */
export interface Stats {
  document(): StatsDocument;
  /** What other nodes are told of this one. It is made every few seconds, and of no more than it needs. */
  summary(): NodeSummary;
  /** The nodes, this one among them, of no more than it needs. */
  datacenter(): DatacenterDocument;
  /** Stops measuring. */
  close(): void;
}

/** Teams on the page. */
const maxTeams = 10;
const hour = 3_600_000;
const day = 24 * hour;
/** Tags that have moved on the page. */
const maxMovedTags = 20;
/** Milliseconds of uptime that a growth rate is computed over at least. */
const shortestGrowthTime = 300_000;
/** Milliseconds without a byte after which a download has stalled. */
export const stalledAfter = 3_000;
/** Attempts in a row after which a receiver of notifications counts as dead. */
const deadReceiver = 3;

export function createStats(options: StatsOptions): Stats {
  const { clock, steady, name, version, health } = options;
  const startedAt = clock();
  const watch = new RuntimeWatch();
  const judged = (state: ActivityState): JudgedStats & { readonly verdict: Verdict } => {
    const now = clock();
    const running = options.running();
    const { windows, sinceStart, lastStoreError } = state;
    const stats: JudgedStats = {
      at: now,
      node: {
        name,
        version,
        startedAt,
        ready: health.ready(),
        draining: health.isDraining(),
        mirrorUrl: options.mirrorUrl(),
      },
      upstreams: upstreamsOf(options, state),
      traffic: { inFlight: running.listener?.inFlight ?? 0, windows, sinceStart },
      store: {
        ...storeOf(options, state, now - startedAt),
        lastStoreError,
        scrub: scrubOf(options, state),
      },
      services: [
        ...troubled(options.troubles?.() ?? {}),
        ...receiversOf(state, now),
        ...(options.services?.map((name) => serviceOf(name, state, now)) ?? []),
      ],
      runtime: watch.read(),
      drill: options.drill?.state ?? null,
    };
    return { ...stats, verdict: verdictOf(stats, health.failing()) };
  };
  const summaryOf = (stats: ReturnType<typeof judged>): NodeSummary =>
    nodeSummary(stats, options.address, options.drill?.told);
  const summary = (): NodeSummary => summaryOf(judged(options.activity.state()));
  return {
    document() {
      const report = options.activity.report();
      const { series, slow, errors, repositories } = report;
      const stats = judged(report);
      const { at, node, verdict, upstreams, traffic, store, services, runtime, drill } = stats;
      return {
        schema: 1,
        at,
        node,
        verdict,
        datacenter: options.datacenter.document(summaryOf(stats)),
        clients: traffic.windows["24h"].requests > 0 ? [] : (options.clients?.() ?? []),
        links: linksOf(options.config()),
        upstreams,
        siblings: options.running().siblings?.verdicts.map(siblingOf) ?? [],
        traffic: { ...traffic, series },
        store,
        movedTags: movedTags(options.running().index?.history, at),
        fills: options.running().blobs?.fillings.map((filling) => fillOf(filling, at, steady())) ?? [],
        slow,
        errors,
        repositories,
        services,
        queues: options.queues?.() ?? [],
        savings: savingsOf(options.savings()),
        blocked: blockedOf(options.blocked?.() ?? []),
        runtime,
        drill,
      };
    },
    summary,
    datacenter: () => options.datacenter.document(summary()),
    close: () => watch.stop(),
  };
}

function movedTags(history: Pick<TagHistory, "movedSince"> | undefined, now: number): readonly MovedTag[] {
  const moves = history?.movedSince(now - day, maxMovedTags) ?? [];
  return moves.map(({ by = null, ...move }) => ({ ...move, by }));
}

/** Blocked digests that are named. */
const maxBlocked = 20;

function blockedOf(blocks: readonly BlockReport[]): StatsDocument["blocked"] {
  return { count: blocks.length, last: blocks.slice(-maxBlocked) };
}

function linksOf({ opsPage: { runbook, grafana, haproxy } = {} }: Pick<Config, "opsPage">) {
  return { runbook: runbook ?? null, grafana: grafana ?? null, haproxy: haproxy ?? null };
}

function savingsOf({ month, currency, total, teams }: SavingsDocument): StatsDocument["savings"] {
  const shown = teams.slice(0, maxTeams);
  return { month, currency, total, teams: shown, more: teams.length - shown.length };
}

function upstreamsOf({ config, running }: StatsOptions, report: ActivityState): UpstreamStats[] {
  const parts = running().upstreams;
  return report.upstreams.map((upstream) => {
    const part = parts?.find(({ name }) => name === upstream.name);
    const configured = config().upstreams.find(({ name }) => name === upstream.name);
    const { maxConnections = 0, offline = false } = configured ?? {};
    return {
      ...upstream,
      circuit: part?.circuit.state ?? upstream.circuit,
      activeConnections: part?.active ?? 0,
      maxConnections,
      offline,
    };
  });
}

function siblingOf(verdict: SiblingVerdict): SiblingStats {
  const { name, state, bytesPerSecond, results, lastHitAt, lastError } = verdict;
  return {
    name,
    state,
    bytesPerSecond: bytesPerSecond ?? null,
    results,
    lastHitAt: lastHitAt ?? null,
    lastError: lastError ?? null,
  };
}

function storeOf({ config, running, disk }: StatsOptions, report: ActivityState, uptime: number): StoreStats {
  const { bytes = 0, count = 0 } = running().index?.blobs.totals() ?? {};
  const { maxSize, keepFree } = config().cache;
  const space = disk();
  const { storedBytes, evictedBytes } = report.windows["1h"];
  const reserve = space === undefined ? null : Math.round(space.total * keepFree);
  const room = space === undefined ? Number.POSITIVE_INFINITY : bytes + space.free - (reserve ?? 0);
  const bound = Math.max(0, Math.min(maxSize, room));
  const growth = (storedBytes - evictedBytes) / Math.min(hour, Math.max(shortestGrowthTime, uptime));
  return {
    usedBytes: bytes,
    limitBytes: maxSize,
    boundBytes: bound,
    boundBy: room < maxSize ? "disk" : "maxSize",
    objects: count,
    diskFreeBytes: space?.free ?? null,
    diskTotalBytes: space?.total ?? null,
    diskReserveBytes: reserve,
    evictionMedianAgeMs: report.eviction.medianAgeMs,
    lastEvictionAt: report.eviction.lastAt,
    timeToFullMs: growth > 0 && bytes < bound ? Math.round((bound - bytes) / growth) : null,
  };
}

/** Only parts with trouble are listed. */
function troubled(troubles: Readonly<Record<string, string | undefined>>): ServiceStats[] {
  return Object.entries(troubles).flatMap(([name, detail]) =>
    detail === undefined ? [] : [{ name, ok: false, asked: true, detail }],
  );
}

/** Only those that take nothing are listed; one failure is none. */
function receiversOf({ receivers }: ActivityState, now: number): ServiceStats[] {
  return [...receivers].flatMap(([endpoint, { failures, since, message, dropped }]) => {
    if (failures < deadReceiver) return [];
    const lost = dropped === 0 ? "" : `; ${count(dropped, "event")} dropped`;
    const detail = `has taken nothing for ${duration(now - since)}: ${message}${lost}`;
    return [{ name: `notifications for ${endpoint}`, ok: false, asked: true, detail }];
  });
}

function scrubOf({ config, running }: StatsOptions, { checks }: ActivityState): ScrubStats {
  const { scrub } = config().cache;
  const { scrubber, store } = running();
  return {
    intervalMs: scrub === 0 ? null : scrub,
    oldestCheckAt: scrubber?.oldestCheck ?? null,
    checkedBlobs: checks.blobs,
    checkedBytes: checks.bytes,
    wrongBlobs: checks.wrong,
    lastWrongAt: checks.lastWrongAt,
    alarm: checks.alarm,
    quarantinedBytes: store?.quarantined.bytes ?? 0,
  };
}

/** In use until a notice says the opposite. */
function serviceOf(name: string, { sharedStores }: ActivityState, now: number): ServiceStats {
  const state = sharedStores.get(name);
  if (state === undefined) return { name, ok: true, asked: false, detail: "" };
  if (state.usable) return { name, ok: true, asked: true, detail: "" };
  const detail = `not usable for ${duration(now - state.since)}: ${state.message}; this node goes on by itself`;
  return { name, ok: false, asked: true, detail };
}

/** `now` by the wall clock, `steadyNow` by the clock of fills. */
function fillOf(
  { fill, remote }: BlobCache["fillings"][number],
  now: number,
  steadyNow: number,
): RunningFill {
  const { digest, received, size, followers, rate, silentFor } = fill;
  const elapsed = steadyNow - fill.startedAt;
  const known = rate === undefined ? null : Math.round(rate * 1000);
  const current = silentFor < stalledAfter ? known : 0;
  const left = size === undefined || !current ? null : Math.round(((size - received) / current) * 1000);
  return {
    digest,
    upstream: remote.upstream,
    repository: remote.repository,
    receivedBytes: received,
    sizeBytes: size ?? null,
    followers,
    startedAt: Math.round(now - elapsed),
    bytesPerSecond: Math.round((received * 1000) / Math.max(1, elapsed)),
    currentBytesPerSecond: current,
    silentMs: Math.round(silentFor),
    leftMs: left,
  };
}
