// Holds back requests to an upstream that limits us: after a 429, or when its budget is used up, no request of that kind
// is sent until the time upstream named. A client that asks again at once (containerd does, six times) gets the error from
// here.
import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { readRetryAfter } from "../answer.ts";

/** Seconds to wait when upstream does not say how long; and the least and the most, whatever it says. */
const usualWait = 4;
const shortestWait = 1;
const longestWait = 60;

/** Registries limit manifests and blobs separately: transfers are blobs, everything else is small. */
export type LimitedKind = "small" | "transfer";

export class RateLimits {
  readonly #upstream: string;
  readonly #notices: NoticeSink;
  readonly #clock: Clock;
  /** Until when, in the clock's milliseconds. */
  readonly #until: Record<LimitedKind, number> = { small: 0, transfer: 0 };
  /** Share of what is allowed of small requests that is left, by the last answer that said so. */
  #left = 1;

  constructor(upstream: string, notices: NoticeSink, clock: Clock) {
    this.#upstream = upstream;
    this.#notices = notices;
    this.#clock = clock;
  }

  /** Throws UpstreamError rate_limited, with the seconds left, while requests of this kind are held back. */
  check(kind: LimitedKind): void {
    const left = this.#secondsLeft(kind);
    if (left <= 0) return;
    const text = `upstream ${this.#upstream} asked to slow down; it is asked again in ${Math.ceil(left)} s`;
    throw new UpstreamError("rate_limited", text, { retryAfter: Math.ceil(left) });
  }

  /** Seconds for which requests of this kind are still held back; 0: they are not. */
  #secondsLeft(kind: LimitedKind): number {
    const left = (this.#until[kind] - this.#clock()) / 1000;
    // No wait is that long: the clock was set back.
    return left <= 0 || left > longestWait ? 0 : left;
  }

  /** See Upstream.allowance. */
  get allowance(): number {
    return this.#secondsLeft("small") > 0 ? 0 : this.#left;
  }

  /** Learns what the registry's answer to a request of this kind says about limits. */
  note(kind: LimitedKind, status: number, headers: IncomingHttpHeaders): void {
    const remaining = leadingNumber(headers["ratelimit-remaining"]);
    if (remaining !== undefined) {
      this.#notices({ kind: "rate_limit", upstream: this.#upstream, remaining });
      const limit = leadingNumber(headers["ratelimit-limit"]);
      if (kind === "small" && limit !== undefined && limit > 0) this.#left = Math.min(1, remaining / limit);
    }
    if (status !== 429 && remaining !== 0) return;
    const now = this.#clock();
    const asked = readRetryAfter(headers["retry-after"], now) ?? leadingNumber(headers["ratelimit-reset"]);
    const wait = Math.max(shortestWait, Math.min(asked ?? usualWait, longestWait));
    this.#until[kind] = now + wait * 1000;
  }
}

/**
 * Of RateLimit-Remaining and RateLimit-Reset (early versions of draft-ietf-httpapi-ratelimit-headers), also with the
 * window Docker Hub adds: `98;w=21600`. Of several values the first.
 */
function leadingNumber(header: string | string[] | undefined): number | undefined {
  const match = /^\s*(\d{1,15})(?![\d.])/.exec([header ?? []].flat()[0] ?? "");
  return match === null ? undefined : Number(match[1]);
}
