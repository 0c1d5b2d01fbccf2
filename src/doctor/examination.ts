// What `entrepot doctor` finds out, check by check. The checks of a part go one after the other; behind one that failed, those
// that need it are skipped, so that the failing hop is named once.
import { realPause } from "../ports/clock.ts";
import { withDeadline } from "../ports/deadline.ts";

/** Milliseconds one check may take, and all of them together. */
export const checkTimeout = 15_000;
export const doctorTimeout = 120_000;

export type Outcome = "ok" | "warning" | "failed" | "skipped";

export interface Finding {
  readonly outcome: Outcome;
  /** What was seen; of one that was skipped, why. One line, without secrets. */
  readonly seen: string;
  /** One sentence; only of a warning and of what failed. */
  readonly fix?: string;
}

export interface Check extends Finding {
  /** What it belongs to: `upstream artifactory`, `redis`, `cache`. */
  readonly part: string;
  readonly name: string;
}

/** With what the checks behind it go on with. */
export type Found<T> = Finding & { readonly value?: T };

export function ok(seen: string): Finding;
export function ok<T>(seen: string, value: T): Found<T>;
export function ok<T>(seen: string, value?: T): Found<T> {
  return value === undefined ? { outcome: "ok", seen } : { outcome: "ok", seen, value };
}

export function warning(seen: string, fix: string): Finding;
export function warning<T>(seen: string, fix: string, value: T): Found<T>;
export function warning<T>(seen: string, fix: string, value?: T): Found<T> {
  return { outcome: "warning", seen, fix, ...(value === undefined ? {} : { value }) };
}

export function failed(seen: string, fix: string): Finding {
  return { outcome: "failed", seen, fix };
}

export function skipped(why: string): Finding {
  return { outcome: "skipped", seen: why };
}

export interface PartOptions {
  readonly name: string;
  /** Ends all checks. */
  readonly signal: AbortSignal;
  /** Milliseconds for one; left out: 15 s. */
  readonly timeout?: number;
}

export interface CheckOptions {
  /** What follows does not need it: it goes on when this one has failed. */
  readonly alone?: true;
}

export class Part {
  readonly name: string;
  readonly checks: Check[] = [];
  readonly #signal: AbortSignal;
  readonly #timeout: number;
  /** The check that failed, behind which the others are skipped. */
  #broken: string | undefined;

  constructor({ name, signal, timeout = checkTimeout }: PartOptions) {
    this.name = name;
    this.#signal = signal;
    this.#timeout = timeout;
  }

  /**
   * Resolves with what the check found for those behind it; undefined when it has failed or was skipped. What `look` rejects
   * with is a failure. `look` is given up after the time for one check, whether or not it heeds its signal. Never rejects.
   */
  async check<T = undefined>(
    name: string,
    look: (signal: AbortSignal) => Promise<Found<T>> | Found<T>,
    { alone }: CheckOptions = {},
  ): Promise<T | undefined> {
    const { outcome, seen, fix, value } = await this.#find(look);
    this.checks.push({ part: this.name, name, outcome, seen, ...(fix === undefined ? {} : { fix }) });
    if (outcome === "failed" && alone !== true) this.#broken ??= name;
    return outcome === "failed" ? undefined : value;
  }

  async #find<T>(look: (signal: AbortSignal) => Promise<Found<T>> | Found<T>): Promise<Found<T>> {
    if (this.#broken !== undefined) return skipped(`${this.#broken} failed`);
    if (this.#signal.aborted) return skipped("the time for all checks was over");
    const deadline = { milliseconds: this.#timeout, pause: realPause, signal: this.#signal };
    let given: AbortSignal | undefined;
    try {
      return await withDeadline(deadline, async (signal) => {
        given = signal;
        return await look(signal);
      });
    } catch (error) {
      if (this.#signal.aborted) return skipped("the time for all checks was over");
      if (given?.aborted)
        return failed(`no answer within ${this.#timeout / 1000} s`, "See why it does not answer in time.");
      const text = error instanceof Error ? error.message : String(error);
      return failed(text, "This is not one of the failures that are known here.");
    }
  }
}

/** The worst of the checks; `skipped` counts as nothing. */
export function worstOf(checks: readonly Finding[]): "ok" | "warning" | "failed" {
  if (checks.some(({ outcome }) => outcome === "failed")) return "failed";
  return checks.some(({ outcome }) => outcome === "warning") ? "warning" : "ok";
}
