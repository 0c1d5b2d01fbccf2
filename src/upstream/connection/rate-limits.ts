// Keeping away from an upstream that limits us: after a 429, or a budget that is used up, nothing of the kind is sent
// until upstream said to come back. Clients that ask again at once (containerd does, six times) are answered from here.
import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { readRetryAfter } from "../answer.ts";
import type { Use } from "./connection-gate.ts";

/** Seconds to keep away when upstream does not say for how long; the least, whatever it says; and the most. */
const usualWait = 4;
const shortestWait = 1;
const longestWait = 60;

type Kind = Exclude<Use, "background">;

export class RateLimits {
  readonly #upstream: string;
  readonly #notices: NoticeSink;
  readonly #clock: Clock;
  /** Until when, in the clock's milliseconds. Registries limit manifests and blobs apart. */
  readonly #until: Record<Kind, number> = { small: 0, transfer: 0 };

  constructor(upstream: string, notices: NoticeSink, clock: Clock) {
    this.#upstream = upstream;
    this.#notices = notices;
    this.#clock = clock;
  }

  /** Throws UpstreamError rate_limited, with the seconds left, while requests of this kind are held back. */
  check(use: Use): void {
    const left = (this.#until[kindOf(use)] - this.#clock()) / 1000;
    // More than was ever agreed: the clock was set back.
    if (left <= 0 || left > longestWait) return;
    const text = `upstream ${this.#upstream} asked to slow down; it is asked again in ${Math.ceil(left)} s`;
    throw new UpstreamError("rate_limited", text, { retryAfter: Math.ceil(left) });
  }

  /** Takes in what the registry's answer to a request of this kind says about limits. */
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

/** To the registry a transfer is a transfer, whoever waits for it. */
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
