// One running call, or one per key: whoever asks meanwhile shares its outcome, success or failure. A failure is never
// remembered.

interface Flight<Value> {
  readonly promise: Promise<Value>;
  counts: boolean;
}

export class SingleFlight<Value> {
  readonly #running = new Map<string, Flight<Value>>();

  /**
   * Starts `work` unless it is running for `key`. `joined` is true for callers who share a running call.
   * The key is forgotten when the call settles. `work` may ask, once it has waited for something, whether it still
   * counts: false after `detach`.
   */
  run(
    key: string,
    work: (counts: () => boolean) => Promise<Value>,
  ): { readonly promise: Promise<Value>; readonly joined: boolean } {
    const running = this.#running.get(key);
    if (running !== undefined) return { promise: running.promise, joined: true };
    const promise: Promise<Value> = work(() => flight.counts).finally(() => {
      if (this.#running.get(key) === flight) this.#running.delete(key);
    });
    const flight: Flight<Value> = { promise, counts: true };
    this.#running.set(key, flight);
    return { promise, joined: false };
  }

  /** What runs for `key` takes too long: it goes on and its outcome counts, but the next caller starts anew. */
  leave(key: string): void {
    this.#running.delete(key);
  }

  /** What runs for `key` goes on for those who wait for it, but nobody joins it any more and it does not count. */
  detach(key: string): void {
    const flight = this.#running.get(key);
    if (flight !== undefined) flight.counts = false;
    this.#running.delete(key);
  }
}

/** The same for a class or closure that has only one thing to do. */
export class SharedCall<Value> {
  #running: Promise<Value> | undefined;

  /** Starts `work` unless it is running. */
  run(work: () => Promise<Value>): Promise<Value> {
    this.#running ??= work().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }
}

/** Like SharedCall, for work that has to see what was there when it was asked for: who asks while it runs shares the next one. */
export class NextCall {
  #last: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  /** Resolves or rejects as `work`, begun when what runs now has ended. */
  run(work: () => Promise<void>): Promise<void> {
    this.#next ??= this.#last
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        this.#last = work();
        return this.#last;
      });
    return this.#next;
  }

  /** What was begun last; it has ended when nothing runs. Settles as that does. */
  get last(): Promise<void> {
    return this.#last;
  }
}
