// Credentials that end at a known time, from a source that is asked again before: requests do not wait for it, and those
// that are still good go on while it fails.
import { ProxyError } from "../../outbound/tunnel.ts";
import type { Clock } from "../../ports/clock.ts";
import { orAborted } from "../../ports/deadline.ts";
import { SharedCall } from "../../ports/single-flight.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";

/** An account, and for how many milliseconds from now it is good. */
export interface EndingCredentials {
  readonly account: Credentials;
  readonly life: number;
}

/** Part of their life after which they are renewed, and milliseconds they are taken to live at least and at most. */
const renewedAfter = 0.75;
const shortestLife = 60_000;
const longestLife = 24 * 3_600_000;
/** Milliseconds after a failure in which the source is not asked again: while there is an account that is good, and without. */
const restWhileGood = 30_000;
const restWithout = 1_000;
/** Milliseconds one question to the source may take. */
const usualTimeout = 10_000;

export interface RenewedCredentialsOptions {
  /** Begins messages, as in `upstream main: its credential source gcp`. */
  readonly label: string;
  /** The signal aborts when it takes too long. What it rejects with is told by its name or code, and nothing else of it. */
  readonly ask: (signal: AbortSignal) => Promise<EndingCredentials>;
  readonly clock: Clock;
  /** Milliseconds; 10 s when left out. */
  readonly timeout?: number;
}

/** Asks once at a time. Rejects with UpstreamError auth when the source fails and there are no credentials that are good. */
export class RenewedCredentials implements CredentialSource {
  readonly #options: RenewedCredentialsOptions;
  readonly #closing = new AbortController();
  readonly #asking = new SharedCall<Credentials>();
  #last: { readonly account: Credentials; readonly renewAt: number; readonly endsAt: number } | undefined;
  #failure: { readonly error: UpstreamError; readonly at: number } | undefined;

  constructor(options: RenewedCredentialsOptions) {
    this.#options = options;
  }

  async read(): Promise<Credentials> {
    const now = this.#options.clock();
    const last = this.#last;
    if (last === undefined || now >= last.endsAt) {
      if (this.#failedWithin(restWithout, now)) throw this.#failure?.error;
      return await this.#ask();
    }
    if (now >= last.renewAt && !this.#failedWithin(restWhileGood, now)) this.#ask().catch(() => {});
    return last.account;
  }

  async renew({ identity }: Credentials): Promise<Credentials | undefined> {
    const known = this.#last?.account;
    const account = known === undefined || known.identity === identity ? await this.#ask() : known;
    return account.identity === identity ? undefined : account;
  }

  /** Ends a question under way. */
  close(): void {
    this.#closing.abort();
  }

  #failedWithin(milliseconds: number, now: number): boolean {
    return this.#failure !== undefined && Math.abs(now - this.#failure.at) < milliseconds;
  }

  #ask(): Promise<Credentials> {
    return this.#asking.run(async () => {
      const { ask, clock, label, timeout = usualTimeout } = this.#options;
      const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(timeout)]);
      try {
        const { account, life } = await orAborted(ask(signal), signal);
        const now = clock();
        const left = life > shortestLife ? Math.min(longestLife, life) : shortestLife;
        this.#last = { account, renewAt: now + left * renewedAfter, endsAt: now + left };
        this.#failure = undefined;
        return account;
      } catch (cause) {
        const why = cause === signal.reason ? `gave no answer in ${timeout} ms` : failureOf(cause);
        const error = new UpstreamError("auth", `upstream ${label} ${why}`);
        this.#failure = { error, at: clock() };
        throw error;
      }
    });
  }
}

/** A failure whose message is fit for people and logs. */
export class SourceFailure extends Error {}

/** Completes "its credential source ...". Messages of others may quote what was sent. */
function failureOf(cause: unknown): string {
  if (cause instanceof SourceFailure) return cause.message;
  if (cause instanceof ProxyError) return `failed: ${cause.message}`;
  const { name, code } = (cause ?? {}) as { name?: unknown; code?: unknown };
  return `failed (${typeof code === "string" ? code : String(name)})`;
}

/** How long something lasts, as servers say it: a number, or digits as Azure writes them; 0 for anything else. */
export function secondsOf(value: unknown): number {
  const seconds = typeof value === "string" ? Number(value) : value;
  return typeof seconds === "number" && Number.isFinite(seconds) ? seconds : 0;
}
