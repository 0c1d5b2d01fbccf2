// The last few of many, in fixed memory.

export class LastOf<T> {
  readonly #limit: number;
  readonly #kept: T[] = [];
  #next = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(value: T): void {
    this.#kept[this.#next] = value;
    this.#next = (this.#next + 1) % this.#limit;
  }

  /** The latest added; undefined when there is none. */
  get latest(): T | undefined {
    return this.#kept[(this.#next + this.#limit - 1) % this.#limit];
  }

  /** Latest first. */
  list(): T[] {
    const { length } = this.#kept;
    return this.#kept.map((_, i) => this.#kept[(this.#next + length - 1 - i + length) % length] as T);
  }

  clear(): void {
    this.#kept.length = 0;
    this.#next = 0;
  }
}

/**
 * The smallest value that at least `share` (0 to 1) of the values do not exceed; null when there are none.
 */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? null;
}
