// How each upstream did in the last hour.
import type { CircuitStateName, Notice } from "../../ports/event.ts";
import { scrub } from "../scrub.ts";
import { LastOf, percentile } from "./last-of.ts";
import { type SavedRows, TimeRing } from "./time-ring.ts";

/** Times in milliseconds since the epoch. */
export interface RecentUpstream {
  readonly name: string;
  /** When it last answered with less than 400, or a check found nothing wrong: refusals show no registry that takes our account. */
  readonly lastSuccessAt: number | null;
  readonly circuit: CircuitStateName;
  /** Since when the circuit is closed, or is not: probes do not count; null: since the start. */
  readonly circuitSince: number | null;
  /** What is wrong now; null: nothing that is known. */
  readonly outage: UpstreamOutage | null;
  /** Counts of the last hour. `limited`: answered 429. */
  readonly requests: number;
  readonly errors: number;
  readonly limited: number;
  readonly fetchedBytes: number;
  /** Over the last 256 answers, in milliseconds. */
  readonly ttfbP50Ms: number | null;
  readonly ttfbP95Ms: number | null;
  /** Requests it still allows, as its last answer says. */
  readonly rateLimitRemaining: number | null;
  readonly lastError: UpstreamFailure | null;
  /** By code, in the last hour. */
  readonly errorCodes: readonly { readonly code: string; readonly count: number }[];
}

/** From the first failure that no success has followed on. */
export interface UpstreamOutage {
  readonly since: number;
  /** Questions and probes that came to nothing, and when the last of them began or failed. */
  readonly attempts: number;
  readonly lastAttemptAt: number;
}

export interface UpstreamFailure {
  readonly at: number;
  readonly code: string;
  readonly status: number | null;
  readonly message: string;
}

/** What a restart should not forget of one upstream. */
export interface SavedUpstream {
  readonly name: string;
  /** Columns as in `fields`. */
  readonly rows: SavedRows;
  readonly codes: readonly (readonly [code: string, rows: SavedRows])[];
  /** Whole milliseconds, the latest first. */
  readonly ttfb: readonly number[];
}

const samples = 256;
const kept = { step: 60_000, slots: 60 };
const fields = { requests: 0, errors: 1, limited: 2, fetchedBytes: 3 } as const;
/** Codes counted apart: more than ports/upstream.ts has. */
const maxCodes = 16;
const longestMessage = 300;
/** Errors that an answer below 500 does not end: it is what such an upstream answers. */
const untilSuccess: ReadonlySet<string> = new Set(["auth", "no_registry", "protocol"]);
/** Downloads the rate is the median of, and bytes of the smallest of them: smaller ones measure the round trip. */
const rateSamples = 64;
const smallestMeasured = 1024 * 1024;

class Upstream {
  readonly #name: string;
  readonly #ring = new TimeRing(kept.step, kept.slots, Object.keys(fields).length);
  readonly #codes = new Map<string, TimeRing>();
  readonly #ttfb = new LastOf<number>(samples);
  readonly #rates = new LastOf<number>(rateSamples);
  #lastSuccessAt: number | null = null;
  #circuit: { state: CircuitStateName; since: number | null } = { state: "closed", since: null };
  #remaining: number | null = null;
  #lastError: UpstreamFailure | null = null;
  #outage: UpstreamOutage | null = null;

  constructor(name: string) {
    this.#name = name;
  }

  onNotice(notice: Notice, now: number): void {
    switch (notice.kind) {
      case "upstream_request":
        this.#answered(notice, now);
        break;
      case "upstream_bytes":
        this.#ring.add(now, fields.fetchedBytes, notice.bytes);
        break;
      case "fill":
        if (notice.bytes >= smallestMeasured && notice.durationMs > 0)
          this.#rates.add(notice.bytes / notice.durationMs);
        break;
      case "upstream_error":
        this.#failed(notice, now);
        break;
      case "upstream_check":
        this.#checked(notice, now);
        break;
      case "circuit":
        this.#circuitChanged(notice, now);
        break;
      case "rate_limit":
        this.#remaining = notice.remaining;
        break;
    }
  }

  #answered({ status, type, ttfbMs }: Notice & { kind: "upstream_request" }, now: number): void {
    this.#ring.add(now, fields.requests, 1);
    if (status === 429) this.#ring.add(now, fields.limited, 1);
    // A token server that answers is no sign of life of the registry.
    if (type === "token") return;
    this.#ttfb.add(ttfbMs);
    if (status < 400) this.#succeeded(now);
    else if (status < 500 && status !== 429 && !untilSuccess.has(this.#lastError?.code ?? ""))
      this.#outage = null;
  }

  #succeeded(now: number): void {
    this.#lastSuccessAt = now;
    this.#outage = null;
  }

  #checked({ trouble }: Notice & { kind: "upstream_check" }, now: number): void {
    if (trouble === undefined) this.#succeeded(now);
    else this.#failed({ ...trouble, status: undefined }, now);
  }

  /** A probe is an attempt; an outage goes on from one to the next. */
  #circuitChanged({ state }: Notice & { kind: "circuit" }, now: number): void {
    const before = this.#circuit;
    const changed = (before.state === "closed") !== (state === "closed");
    this.#circuit = { state, since: changed ? now : before.since };
    if (state === "closed") this.#outage = null;
    else if (state === "half_open") this.#attempted(now);
    else this.#outage ??= { since: now, attempts: 0, lastAttemptAt: now };
  }

  #attempted(now: number): void {
    const { since = now, attempts = 0 } = this.#outage ?? {};
    this.#outage = { since, attempts: attempts + 1, lastAttemptAt: now };
  }

  #failed(
    { code, status, message }: Omit<Notice & { kind: "upstream_error" }, "kind" | "upstream">,
    now: number,
  ): void {
    this.#ring.add(now, fields.errors, 1);
    // It was not asked, and why has been told before.
    if (code !== "circuit_open") {
      this.#attempted(now);
      this.#lastError = { at: now, code, status: status ?? null, message: scrub(message, longestMessage) };
    }
    this.#ringOf(code)?.add(now, 0, 1);
  }

  #ringOf(code: string): TimeRing | undefined {
    const known = this.#codes.get(code);
    if (known !== undefined || this.#codes.size >= maxCodes) return known;
    const ring = new TimeRing(kept.step, kept.slots, 1);
    this.#codes.set(code, ring);
    return ring;
  }

  save(): SavedUpstream {
    return {
      name: this.#name,
      rows: this.#ring.save(),
      codes: [...this.#codes].map(([code, ring]) => [code, ring.save()] as const),
      ttfb: this.#ttfb.list().map(Math.round),
    };
  }

  restore({ rows, codes, ttfb }: SavedUpstream, now: number): void {
    this.#ring.restore(now, rows);
    for (const [code, rows] of codes) this.#ringOf(code)?.restore(now, rows);
    // Those of long ago say nothing of now.
    if (this.#ring.sum(now, kept.slots, fields.requests) > 0)
      for (const milliseconds of ttfb.toReversed()) this.#ttfb.add(milliseconds);
  }

  get fetchRate(): number | undefined {
    return percentile(this.#rates.list(), 0.5) ?? undefined;
  }

  report(now: number): RecentUpstream {
    const sum = (field: number) => this.#ring.sum(now, kept.slots, field);
    const ttfb = this.#ttfb.list();
    return {
      name: this.#name,
      lastSuccessAt: this.#lastSuccessAt,
      circuit: this.#circuit.state,
      circuitSince: this.#circuit.since,
      outage: this.#outage,
      requests: sum(fields.requests),
      errors: sum(fields.errors),
      limited: sum(fields.limited),
      fetchedBytes: sum(fields.fetchedBytes),
      ttfbP50Ms: percentile(ttfb, 0.5),
      ttfbP95Ms: percentile(ttfb, 0.95),
      rateLimitRemaining: this.#remaining,
      lastError: this.#lastError,
      errorCodes: [...this.#codes]
        .map(([code, ring]) => ({ code, count: ring.sum(now, kept.slots, 0) }))
        .filter(({ count }) => count > 0)
        .sort((a, b) => b.count - a.count),
    };
  }
}

export class RecentUpstreams {
  #upstreams: ReadonlyMap<string, Upstream> = new Map();

  /** The configured ones; notices about any other are passed over. */
  constructor(names: readonly string[]) {
    this.use(names);
  }

  /** From now on these are configured; what is known of those that were before stays. */
  use(names: readonly string[]): void {
    this.#upstreams = new Map(names.map((name) => [name, this.#upstreams.get(name) ?? new Upstream(name)]));
  }

  onNotice(notice: Notice, now: number): void {
    if ("upstream" in notice) this.#upstreams.get(notice.upstream)?.onNotice(notice, now);
  }

  /** See RecentActivity. */
  fetchRate(name: string): number | undefined {
    return this.#upstreams.get(name)?.fetchRate;
  }

  save(): SavedUpstream[] {
    return [...this.#upstreams.values()].map((upstream) => upstream.save());
  }

  /** Of upstreams that are configured no more nothing is kept. */
  restore(saved: readonly SavedUpstream[], now: number): void {
    for (const upstream of saved) this.#upstreams.get(upstream.name)?.restore(upstream, now);
  }

  report(now: number): RecentUpstream[] {
    return [...this.#upstreams.values()].map((upstream) => upstream.report(now));
  }
}
