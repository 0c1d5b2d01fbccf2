// So many pieces of work at once, whatever is asked for.

/** Lets so many pieces of work run at once; the others have their turn in order. Who waits is bounded by who calls. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** `atOnce`: 1 or more. */
  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** Pieces of work that wait for a turn. */
  get waiting(): number {
    return this.#waiting.length;
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

/** Calls `work` for each item in order, at most so many at once. Rejects with the first failure, once all that had begun have ended. */
export async function eachAtOnce<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = items.values();
  const worker = async (): Promise<void> => {
    for (const item of waiting) await work(item);
  };
  const workers = Array.from({ length: Math.min(atOnce, items.length) }, worker);
  const [failed] = (await Promise.allSettled(workers)).filter(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}
