// One running call per key; everybody who asks meanwhile shares its outcome, success or failure.

export class SingleFlight<Value> {
  readonly #running = new Map<string, Promise<Value>>();

  /**
   * Starts `work` unless it is running for `key`. `joined` is true for callers who share a running call.
   * The key is forgotten when the call settles, so a failure is never remembered. `work` may ask, once it has
   * waited for something, whether it still counts: false after `detach`.
   */
  run(
    key: string,
    work: (counts: () => boolean) => Promise<Value>,
  ): { readonly promise: Promise<Value>; readonly joined: boolean } {
    const running = this.#running.get(key);
    if (running !== undefined) return { promise: running, joined: true };
    const counts = (): boolean => this.#running.get(key) === promise;
    const promise: Promise<Value> = work(counts).finally(() => {
      if (counts()) this.#running.delete(key);
    });
    this.#running.set(key, promise);
    return { promise, joined: false };
  }

  /** What runs for `key` goes on for those who wait for it; nobody joins it any more. */
  detach(key: string): void {
    this.#running.delete(key);
  }
}

/** A key no component can forge, whatever characters it holds. */
export function flightKey(...parts: readonly string[]): string {
  return JSON.stringify(parts);
}
