// Single requests worth a look: the last failures, and the transfers that took long.
import type { RequestEvent, Result, Source } from "../../ports/event.ts";
import { scrub } from "../scrub.ts";
import { LastOf } from "./last-of.ts";

/** Times in milliseconds since the epoch; texts are what clients sent, cut short. */
export interface RecentError {
  readonly at: number;
  /** Equal failures in a row are one entry; `id` and `at` are the latest's. */
  readonly times: number;
  readonly id: string;
  readonly method: string;
  readonly status: number;
  readonly client: string;
  readonly userAgent: string | null;
  readonly upstream: string | null;
  /** The repository and reference where they are known, else the path. */
  readonly what: string;
  readonly upstreamStatus: number | null;
  readonly abortedBy: "upstream" | "node" | null;
  readonly reason: string | null;
}

/** Answers of daily life, counted and not listed: 401 and 404. */
export interface FoldedErrors {
  readonly status: number;
  /** Since the start. */
  readonly count: number;
  readonly lastAt: number;
  readonly lastWhat: string;
}

export interface SlowTransfer {
  readonly at: number;
  readonly id: string;
  readonly client: string;
  readonly upstream: string | null;
  readonly what: string;
  readonly result: Result;
  readonly source: Source;
  readonly sentBytes: number;
  readonly durationMs: number;
  readonly ttfbMs: number | null;
}

const maxErrors = 50;
const maxSlow = 50;
/** Milliseconds; the threshold for a slow answer that the dashboards draw. */
const slowFrom = 5_000;
const folded: ReadonlySet<number> = new Set([401, 404]);
const longestText = 160;

export class RecentRequests {
  readonly #errors = new LastOf<{ -readonly [K in keyof RecentError]: RecentError[K] }>(maxErrors);
  readonly #folded = new Map<number, { count: number; lastAt: number; lastWhat: string }>();
  readonly #slow = new LastOf<SlowTransfer>(maxSlow);

  onEvent(event: RequestEvent, now: number): void {
    if (event.durationMs > slowFrom && event.bytesSent > 0) this.#slow.add(slowTransfer(event, now));
    const { status, abortedBy } = event;
    if (folded.has(status)) this.#fold(event, now);
    else if ((status >= 400 && status !== 499) || abortedBy === "node" || abortedBy === "upstream")
      this.#fail(event, now);
  }

  get errors(): readonly RecentError[] {
    return this.#errors.list();
  }

  get folded(): readonly FoldedErrors[] {
    return [...this.#folded].map(([status, fold]) => ({ status, ...fold }));
  }

  get slow(): readonly SlowTransfer[] {
    return this.#slow.list();
  }

  #fold(event: RequestEvent, now: number): void {
    const count = (this.#folded.get(event.status)?.count ?? 0) + 1;
    this.#folded.set(event.status, { count, lastAt: now, lastWhat: whatOf(event) });
  }

  #fail(event: RequestEvent, now: number): void {
    const error = recentError(event, now);
    const { latest } = this.#errors;
    if (latest === undefined || !isSame(latest, error)) this.#errors.add(error);
    else Object.assign(latest, { at: now, id: error.id, times: latest.times + 1 });
  }
}

function recentError(event: RequestEvent, now: number): RecentError {
  const { id, method, status, client, upstream, upstreamStatus, abortedBy, detail, userAgent } = event;
  return {
    at: now,
    times: 1,
    id,
    method: cut(method),
    status,
    client,
    userAgent: userAgent === undefined ? null : cut(userAgent),
    upstream: upstream ?? null,
    what: whatOf(event),
    upstreamStatus: upstreamStatus ?? null,
    abortedBy: abortedBy === "client" ? null : (abortedBy ?? null),
    reason: detail === undefined ? null : cut(detail),
  };
}

function isSame(a: RecentError, b: RecentError): boolean {
  return (
    a.status === b.status &&
    a.what === b.what &&
    a.reason === b.reason &&
    a.client === b.client &&
    a.upstream === b.upstream &&
    a.method === b.method
  );
}

function slowTransfer(event: RequestEvent, now: number): SlowTransfer {
  const { id, client, upstream, result, source, bytesSent, durationMs, ttfbMs } = event;
  return {
    at: now,
    id,
    client,
    upstream: upstream ?? null,
    what: whatOf(event),
    result,
    source,
    sentBytes: bytesSent,
    durationMs: Math.round(durationMs),
    ttfbMs: ttfbMs === undefined ? null : Math.round(ttfbMs),
  };
}

function whatOf({ repository, reference, path }: RequestEvent): string {
  if (repository === undefined) return cut(path);
  if (reference === undefined) return cut(repository);
  return cut(`${repository}${reference.includes(":") ? "@" : ":"}${reference}`, longestText + 160);
}

function cut(text: string, length = longestText): string {
  return scrub(text, length);
}
