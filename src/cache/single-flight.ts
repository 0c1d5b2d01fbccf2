// One running call per key; everybody who asks meanwhile shares its outcome, success or failure.

export class SingleFlight<Value> {
  readonly #running = new Map<string, Promise<Value>>();

  /**
   * Starts `work` unless it is running for `key`. `joined` is true for callers who share a running call.
   * The key is forgotten when the call settles, so a failure is never remembered.
   */
  run(
    key: string,
    work: () => Promise<Value>,
  ): { readonly promise: Promise<Value>; readonly joined: boolean } {
    const running = this.#running.get(key);
    if (running !== undefined) return { promise: running, joined: true };
    const promise = work().finally(() => this.#running.delete(key));
    this.#running.set(key, promise);
    return { promise, joined: false };
  }
}

/** A key no component can forge, whatever characters it holds. */
export function flightKey(...parts: readonly string[]): string {
  return JSON.stringify(parts);
}
