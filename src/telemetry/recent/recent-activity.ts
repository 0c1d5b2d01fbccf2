// The sink behind the stats page: what happened lately, in memory that does not grow. About 400 KB, most of it the
// texts of the last errors.
import type { EventSink, Notice, NoticeSink } from "../../ports/event.ts";
import { scrub } from "../scrub.ts";
import { LastOf, percentile } from "./last-of.ts";
import { RecentRepositories, type RecentRepositoriesReport } from "./recent-repositories.ts";
import { type FoldedErrors, type RecentError, RecentRequests, type SlowTransfer } from "./recent-requests.ts";
import {
  RecentTraffic,
  type SavedTraffic,
  type TrafficSeries,
  type TrafficWindow,
} from "./recent-traffic.ts";
import { type RecentUpstream, RecentUpstreams, type SavedUpstream } from "./recent-upstreams.ts";

export interface StoreFailure {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly op: string;
  readonly code: string;
  readonly message: string;
}

/** What hashing stored blobs again has found, since the start. */
export interface StoredChecks {
  readonly blobs: number;
  readonly bytes: number;
  /** Blobs that were not what their digest says. */
  readonly wrong: number;
  /** When the last of them was met, in milliseconds since the epoch. */
  readonly lastWrongAt: number | null;
  /** So much reads wrong in a row that the disk or the memory must be at fault. */
  readonly alarm: boolean;
}

/** What a verdict, and a summary for other nodes, are made of. */
export interface ActivityState {
  readonly windows: Readonly<Record<"5m" | "1h" | "24h", TrafficWindow>>;
  /** Of this process; what an earlier one did is in the windows only. */
  readonly sinceStart: TrafficWindow;
  readonly upstreams: readonly RecentUpstream[];
  readonly eviction: {
    /** How long ago evicted blobs had last been used: the median over the last 64, in milliseconds. */
    readonly medianAgeMs: number | null;
    readonly lastAt: number | null;
  };
  readonly lastStoreError: StoreFailure | null;
  readonly checks: StoredChecks;
  /** Receivers of notifications, by name, from the first notice about one on. */
  readonly receivers: ReadonlyMap<string, ReceiverState>;
  /** The shared stores, by name, from the first notice about one on. */
  readonly sharedStores: ReadonlyMap<string, SharedStoreState>;
}

export interface ActivityReport extends ActivityState {
  readonly series: Readonly<Record<"minute" | "hour" | "day", TrafficSeries>>;
  readonly slow: readonly SlowTransfer[];
  readonly errors: { readonly last: readonly RecentError[]; readonly folded: readonly FoldedErrors[] };
  readonly repositories: RecentRepositoriesReport;
}

export interface ReceiverState {
  /** Attempts in a row that failed; 0: it takes what it is sent. */
  readonly failures: number;
  /** Since when, in milliseconds since the epoch, and why the last one did. */
  readonly since: number;
  readonly message: string;
  /** Events that were dropped since it took the last one. */
  readonly dropped: number;
}

export interface SharedStoreState {
  readonly usable: boolean;
  /** Why it is not. */
  readonly message: string;
  /** Since when, in milliseconds since the epoch. */
  readonly since: number;
}

export interface SavedActivity extends SavedTraffic {
  readonly upstreams: readonly SavedUpstream[];
}

export interface RecentActivityOptions {
  readonly upstreams: readonly string[];
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

const evictionAges = 64;
const longestMessage = 200;

export class RecentActivity {
  readonly #clock: () => number;
  readonly #traffic = new RecentTraffic();
  readonly #requests = new RecentRequests();
  readonly #repositories: RecentRepositories;
  readonly #upstreams: RecentUpstreams;
  readonly #ages = new LastOf<number>(evictionAges);
  #lastEviction: number | null = null;
  #lastStoreError: StoreFailure | null = null;
  #checks: StoredChecks = { blobs: 0, bytes: 0, wrong: 0, lastWrongAt: null, alarm: false };
  readonly #sharedStores = new Map<string, SharedStoreState>();
  /** As many as are configured. */
  readonly #receivers = new Map<string, ReceiverState>();

  constructor({ upstreams, clock }: RecentActivityOptions) {
    this.#clock = clock;
    this.#upstreams = new RecentUpstreams(upstreams);
    this.#repositories = new RecentRepositories(clock());
  }

  readonly onEvent: EventSink = (event) => {
    // Health checks and pings of clients are no traffic of the cache.
    if (event.route === "ping" || event.route === "token") return;
    const now = this.#clock();
    this.#traffic.onEvent(event, now);
    this.#requests.onEvent(event, now);
    this.#repositories.onEvent(event, now);
  };

  readonly onNotice: NoticeSink = (notice) => {
    const now = this.#clock();
    this.#traffic.onNotice(notice, now);
    this.#upstreams.onNotice(notice, now);
    if (notice.kind === "eviction" && notice.reason !== "corrupt") {
      this.#ages.add(notice.ageMs);
      this.#lastEviction = now;
    }
    if (notice.kind === "shared_store") {
      const { store, usable, message } = notice;
      const before = this.#sharedStores.get(store);
      const since = before?.usable === usable ? before.since : now;
      this.#sharedStores.set(store, { usable, message: scrub(message, longestMessage), since });
    }
    if (notice.kind === "notification") this.#onNotification(notice, now);
    this.#onCheck(notice, now);
    if (notice.kind === "store_error") {
      const { op, code, message } = notice;
      this.#lastStoreError = { at: now, op, code, message: scrub(message, longestMessage) };
    }
  };

  #onNotification(notice: Notice & { kind: "notification" }, now: number): void {
    const { endpoint, result, events, message = "" } = notice;
    const none: ReceiverState = { failures: 0, since: now, message: "", dropped: 0 };
    const before = this.#receivers.get(endpoint) ?? none;
    const { failures, dropped } = before;
    const since = failures === 0 ? now : before.since;
    const failed = { ...before, failures: failures + 1, since, message: scrub(message, longestMessage) };
    const after = { delivered: none, failed, dropped: { ...before, dropped: dropped + events } };
    this.#receivers.set(endpoint, after[result]);
  }

  #onCheck(notice: Notice, now: number): void {
    const checks = this.#checks;
    if (notice.kind === "blob_check")
      this.#checks = { ...checks, blobs: checks.blobs + 1, bytes: checks.bytes + notice.bytes };
    if (notice.kind === "bit_rot") this.#checks = { ...checks, wrong: checks.wrong + 1, lastWrongAt: now };
    if (notice.kind === "bit_rot_alarm") this.#checks = { ...checks, alarm: notice.raised };
  }

  report(): ActivityReport {
    const now = this.#clock();
    return {
      ...this.state(),
      series: this.#traffic.series(now),
      slow: this.#requests.slow,
      errors: { last: this.#requests.errors, folded: this.#requests.folded },
      repositories: this.#repositories.report(now),
    };
  }

  /** The part of the report that other nodes are told of every few seconds. */
  state(): ActivityState {
    const now = this.#clock();
    return {
      windows: this.#traffic.windows(now),
      sinceStart: this.#traffic.sinceStart(),
      upstreams: this.#upstreams.report(now),
      eviction: { medianAgeMs: percentile(this.#ages.list(), 0.5), lastAt: this.#lastEviction },
      lastStoreError: this.#lastStoreError,
      checks: this.#checks,
      receivers: this.#receivers,
      sharedStores: this.#sharedStores,
    };
  }

  /**
   * Bytes a millisecond at which blobs lately came for the upstream, from it or from S3 or another node: their median.
   * Undefined when none did.
   */
  fetchRate(upstream: string): number | undefined {
    return this.#upstreams.fetchRate(upstream);
  }

  /** From now on these upstreams are configured. */
  useUpstreams(names: readonly string[]): void {
    this.#upstreams.use(names);
  }

  /** What a restart should not forget. */
  save(): SavedActivity {
    return { ...this.#traffic.save(), upstreams: this.#upstreams.save() };
  }

  restore(saved: SavedActivity): void {
    this.#traffic.restore(saved, this.#clock());
    this.#upstreams.restore(saved.upstreams, this.#clock());
  }
}
