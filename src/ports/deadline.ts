// Waiting with a bound: for somebody else's work, for a signal, for an answer that can be given up.
import type { Pause } from "./clock.ts";

/**
 * Whether `work` is done within so many milliseconds; it goes on when it is not, and how it then ends is nobody's
 * concern here. Rejects as `work` does when that comes first.
 */
export async function inTime(work: Promise<unknown>, milliseconds: number, pause: Pause): Promise<boolean> {
  const waiting = new AbortController();
  const late = pause(milliseconds, waiting.signal).then(
    () => false,
    () => false,
  );
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    waiting.abort();
  }
}

/** The outcome of `work`, which goes on for others who wait for it, or the signal's reason when it aborts first. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

export interface Deadline<T> {
  readonly milliseconds: number;
  readonly pause: Pause;
  /** Ends the waiting early. */
  readonly signal?: AbortSignal | undefined;
  /** Gets an answer that came when nobody waited any more. */
  readonly late?: ((answer: T) => void) | undefined;
}

/**
 * What `ask` resolves with, whether or not it heeds the signal it is given. Rejects with a TimeoutError after the time,
 * with the signal's reason when it aborts, and with what `ask` rejects with; whichever is first. The signal given to
 * `ask` aborts with the first two.
 */
export async function withDeadline<T>(
  { milliseconds, pause, signal, late }: Deadline<T>,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const waiting = new AbortController();
  const over = new AbortController();
  const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  pause(milliseconds, waiting.signal).then(
    () => over.abort(new DOMException(`no answer within ${milliseconds} ms`, "TimeoutError")),
    () => {},
  );
  try {
    const answer = ask(either);
    answer.then(
      (value) => either.aborted && late?.(value),
      () => {},
    );
    return await orAborted(answer, either);
  } finally {
    waiting.abort();
  }
}
