// An answer within a bounded time, whatever the SDK is doing: its look-up of credentials hears of no signal.

export interface Deadline<T> {
  /** Milliseconds. */
  readonly timeout: number;
  /** Ends the waiting early. */
  readonly signal: AbortSignal | undefined;
  /** Gets an answer that came when nobody waited any more. */
  readonly late: ((answer: T) => void) | undefined;
}

/**
 * What `ask` resolves with. Rejects with a TimeoutError after the time, with an AbortError when the signal aborts, and
 * with what `ask` rejects with; whichever is first. The signal given to `ask` aborts with the first two.
 */
export async function within<T>(
  { timeout, signal, late }: Deadline<T>,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const asking = new AbortController();
  const { promise: given, reject } = Promise.withResolvers<never>();
  let over = false;
  const giveUp = (name: string, text: string): void => {
    over = true;
    const reason = new DOMException(text, name);
    reject(reason);
    asking.abort(reason);
  };
  const abort = (): void => giveUp("AbortError", "the caller gave up");
  const timer = setTimeout(() => giveUp("TimeoutError", `no answer within ${timeout} ms`), timeout);
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    if (over) return await given;
    const answer = ask(asking.signal);
    answer.then(
      (value) => over && late?.(value),
      () => {},
    );
    return await Promise.race([answer, given]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}
