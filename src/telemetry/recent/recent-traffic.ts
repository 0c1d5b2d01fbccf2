// What went through this node lately: per second for a minute, per minute for an hour, per half hour for a day.
import type { TrafficSums } from "../../ports/datacenter/nodes.ts";
import { type Notice, type RequestEvent, type Result, results } from "../../ports/event.ts";
import { amount } from "../metrics/label.ts";
import { type SavedRows, TimeRing } from "./time-ring.ts";

/** What is counted per step of time. The names stand in the history file. */
export const trafficFields = [
  ...results,
  "requests",
  "failed",
  "sentBytes",
  "fetchedBytes",
  "layerReads",
  "layerHits",
  "manifestReads",
  "manifestHits",
  "storedBytes",
  "evictions",
  "evictedBytes",
  "brokenFills",
  "storeErrors",
] as const;
type Field = (typeof trafficFields)[number];

const fieldAt = Object.fromEntries(trafficFields.map((field, at) => [field, at])) as Record<Field, number>;

/** Sums over a window, or since the start. Joined downloads and revalidations that moved are no hits. */
export interface TrafficWindow extends TrafficSums {
  /** Sent without being fetched: what the long link did not have to carry. Never below 0. */
  readonly savedBytes: number;
  /** Shares from 0 to 1; null when nothing was read. */
  readonly layerHitRatio: number | null;
  readonly manifestHitRatio: number | null;
  readonly byteHitRatio: number | null;
  readonly storedBytes: number;
  readonly evictions: number;
  readonly evictedBytes: number;
  /** Downloads whose bytes were wrong or incomplete. */
  readonly brokenFills: number;
  readonly storeErrors: number;
}

/** Columns of equal length, oldest first; the last entry is of the step that is not over yet. */
export interface TrafficSeries {
  readonly startAt: number;
  readonly stepMs: number;
  readonly requests: readonly number[];
  readonly failed: readonly number[];
  readonly sentBytes: readonly number[];
  readonly fetchedBytes: readonly number[];
  readonly results: Readonly<Record<Result, readonly number[]>>;
}

export interface SavedTraffic {
  readonly fields: readonly string[];
  readonly minutes: SavedRows;
  readonly halfHours: SavedRows;
}

const second = 1_000;
const minute = 60 * second;
const halfHour = 30 * minute;

const served: ReadonlySet<Result> = new Set(["hit", "stale", "revalidated"]);
const fetched: ReadonlySet<Result> = new Set(["miss", "joined"]);

export class RecentTraffic {
  readonly #seconds = new TimeRing(second, 60, trafficFields.length);
  readonly #minutes = new TimeRing(minute, 60, trafficFields.length);
  readonly #halfHours = new TimeRing(halfHour, 48, trafficFields.length);
  /** Since the start of the process: what ended in it counts whole. */
  readonly #sums = new Float64Array(trafficFields.length);

  onEvent(event: RequestEvent, now: number): void {
    const fields = fieldsOf(event);
    this.#seconds.count(now, fields);
    this.#minutes.count(now, fields);
    this.#halfHours.count(now, fields);
    for (const at of fields) this.#sum(at, 1);
    this.#spread(now, event.durationMs, "sentBytes", event.bytesSent);
  }

  onNotice(notice: Notice, now: number): void {
    switch (notice.kind) {
      case "upstream_bytes":
        this.#count(now, "fetchedBytes", notice.bytes);
        break;
      case "fill":
        if (notice.result === "committed" || notice.result === "resumable")
          this.#count(now, "storedBytes", notice.bytes);
        if (notice.result === "discarded") this.#count(now, "brokenFills");
        break;
      case "eviction":
        this.#count(now, "evictions");
        this.#count(now, "evictedBytes", notice.bytes);
        break;
      case "store_error":
        this.#count(now, "storeErrors");
        break;
    }
  }

  /** The current step counts in, so `5m` is between 4 and 5 minutes. */
  windows(now: number): Readonly<Record<"5m" | "1h" | "24h", TrafficWindow>> {
    return {
      "5m": window((field) => this.#minutes.sum(now, 5, fieldAt[field])),
      "1h": window((field) => this.#minutes.sum(now, 60, fieldAt[field])),
      "24h": window((field) => this.#halfHours.sum(now, 48, fieldAt[field])),
    };
  }

  sinceStart(): TrafficWindow {
    return window((field) => this.#sums[fieldAt[field]] as number);
  }

  series(now: number): Readonly<Record<"minute" | "hour" | "day", TrafficSeries>> {
    return {
      minute: series(this.#seconds, now),
      hour: series(this.#minutes, now),
      day: series(this.#halfHours, now),
    };
  }

  save(): SavedTraffic {
    return { fields: trafficFields, minutes: this.#minutes.save(), halfHours: this.#halfHours.save() };
  }

  /** Columns are found by name: a file of another version loses only what this one does not count. */
  restore(saved: SavedTraffic, now: number): void {
    const from = trafficFields.map((field) => saved.fields.indexOf(field));
    const inOrder = (rows: SavedRows): SavedRows =>
      rows.map(([step, values]) => [step, from.map((at) => values[at] ?? 0)]);
    this.#minutes.restore(now, inOrder(saved.minutes));
    this.#halfHours.restore(now, inOrder(saved.halfHours));
  }

  #count(now: number, field: Field, by = 1): void {
    const at = fieldAt[field];
    const value = amount(by);
    this.#seconds.add(now, at, value);
    this.#minutes.add(now, at, value);
    this.#halfHours.add(now, at, value);
    this.#sum(at, value);
  }

  #sum(at: number, value: number): void {
    this.#sums[at] = (this.#sums[at] as number) + value;
  }

  #spread(now: number, duration: number, field: Field, bytes: number): void {
    const value = amount(bytes);
    if (value === 0) return;
    if (!(duration > second)) {
      this.#count(now, field, value);
      return;
    }
    const at = fieldAt[field];
    for (const ring of [this.#seconds, this.#minutes, this.#halfHours])
      ring.spread(now - duration, now, at, value);
    this.#sum(at, value);
  }
}

/** Where an event counts as one. */
function fieldsOf(event: RequestEvent): readonly number[] {
  const { result, route } = event;
  const fields = [fieldAt[result], fieldAt.requests];
  if (failed(event)) fields.push(fieldAt.failed);
  const hit = served.has(result);
  if (!hit && !fetched.has(result)) return fields;
  if (route === "blob") {
    fields.push(fieldAt.layerReads);
    if (hit) fields.push(fieldAt.layerHits);
  } else if (route === "manifest_tag" || route === "manifest_digest") {
    fields.push(fieldAt.manifestReads);
    if (hit) fields.push(fieldAt.manifestHits);
  }
  return fields;
}

/** A client that went away is no failure. */
export function failed({ status, abortedBy }: Pick<RequestEvent, "status" | "abortedBy">): boolean {
  return status >= 500 || abortedBy === "node" || abortedBy === "upstream";
}

function window(sum: (field: Field) => number): TrafficWindow {
  const sentBytes = Math.round(sum("sentBytes"));
  const fetchedBytes = Math.round(sum("fetchedBytes"));
  const [layers, layerHits] = [sum("layerReads"), sum("layerHits")];
  const [manifests, manifestHits] = [sum("manifestReads"), sum("manifestHits")];
  return {
    requests: sum("requests"),
    failed: sum("failed"),
    results: Object.fromEntries(results.map((result) => [result, sum(result)])) as Record<Result, number>,
    sentBytes,
    fetchedBytes,
    savedBytes: Math.max(0, sentBytes - fetchedBytes),
    reads: layers + manifests,
    hits: layerHits + manifestHits,
    hitRatio: ratio(layerHits + manifestHits, layers + manifests),
    layerHitRatio: ratio(layerHits, layers),
    manifestHitRatio: ratio(manifestHits, manifests),
    byteHitRatio: ratio(Math.max(0, sentBytes - fetchedBytes), sentBytes),
    storedBytes: sum("storedBytes"),
    evictions: sum("evictions"),
    evictedBytes: sum("evictedBytes"),
    brokenFills: sum("brokenFills"),
    storeErrors: sum("storeErrors"),
  };
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function series(ring: TimeRing, now: number): TrafficSeries {
  const column = (field: Field) => ring.column(now, fieldAt[field]);
  return {
    startAt: ring.start(now),
    stepMs: ring.step,
    requests: column("requests"),
    failed: column("failed"),
    sentBytes: column("sentBytes"),
    fetchedBytes: column("fetchedBytes"),
    results: Object.fromEntries(results.map((result) => [result, column(result)])) as Record<
      Result,
      number[]
    >,
  };
}
