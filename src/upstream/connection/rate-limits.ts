// Holds back requests to an upstream that limits us: after a 429, or when its budget is used up, no request of that kind
// is sent until the time upstream named. A client that asks again at once (containerd does, six times) gets the error from
// here.
import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { readRetryAfter } from "../answer.ts";
import type { Use } from "./connection-gate.ts";

/** Seconds to wait when upstream does not say how long; and the least and the most, whatever it says. */
const usualWait = 4;
const shortestWait = 1;
const longestWait = 60;

type Kind = Exclude<Use, "background">;

export class RateLimits {
  readonly #upstream: string;
  readonly #notices: NoticeSink;
  readonly #clock: Clock;
  /** Until when, in the clock's milliseconds. Registries limit manifests and blobs separately. */
  readonly #until: Record<Kind, number> = { small: 0, transfer: 0 };

  constructor(upstream: string, notices: NoticeSink, clock: Clock) {
    this.#upstream = upstream;
    this.#notices = notices;
    this.#clock = clock;
  }

  /** Throws UpstreamError rate_limited, with the seconds left, while requests of this kind are held back. */
  check(use: Use): void {
    const left = (this.#until[kindOf(use)] - this.#clock()) / 1000;
    // No wait is that long: the clock was set back.
    if (left <= 0 || left > longestWait) return;
    const text = `upstream ${this.#upstream} asked to slow down; it is asked again in ${Math.ceil(left)} s`;
    throw new UpstreamError("rate_limited", text, { retryAfter: Math.ceil(left) });
  }

  /** Learns what the registry's answer to a request of this kind says about limits. */
  note(use: Use, status: number, headers: IncomingHttpHeaders): void {
    const remaining = leadingNumber(headers["ratelimit-remaining"]);
    if (remaining !== undefined) {
      this.#notices({ kind: "rate_limit", upstream: this.#upstream, remaining });
    }
    if (status !== 429 && remaining !== 0) return;
    const now = this.#clock();
    const asked = readRetryAfter(headers["retry-after"], now) ?? leadingNumber(headers["ratelimit-reset"]);
    const wait = Math.max(shortestWait, Math.min(asked ?? usualWait, longestWait));
    this.#until[kindOf(use)] = now + wait * 1000;
  }
}

/** The registry counts a background transfer like any other. */
function kindOf(use: Use): Kind {
  return use === "background" ? "transfer" : use;
}

/**
 * Of RateLimit-Remaining and RateLimit-Reset (early versions of draft-ietf-httpapi-ratelimit-headers), also with the
 * window Docker Hub adds: `98;w=21600`. Of several values the first.
 */
function leadingNumber(header: string | string[] | undefined): number | undefined {
  const match = /^\s*(\d{1,15})(?![\d.])/.exec([header ?? []].flat()[0] ?? "");
  return match === null ? undefined : Number(match[1]);
}
