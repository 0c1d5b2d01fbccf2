/** Lets so many pieces of work run at once; the others have their turn in order. Who waits is bounded by who calls. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** `atOnce`: 1 or more. */
  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** Resolves and rejects as `work` does. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
