// Sums over the recent past in fixed memory: one row of numbers per step of time, the oldest overwritten.

/** What a file holds of a ring: rows by the number of their step since the epoch. */
export type SavedRows = readonly (readonly [step: number, values: readonly number[]])[];

export class TimeRing {
  readonly step: number;
  readonly slots: number;
  readonly #width: number;
  readonly #cells: Float64Array;
  /** Number of the newest step, counted from the epoch. */
  #newest = 0;
  /** When its row began and ends, and its offset: most calls are of that time. */
  #begins = 0;
  #ends = 0;
  #at = 0;

  /** `slots` rows of `width` numbers, each for `step` milliseconds. */
  constructor(step: number, slots: number, width: number) {
    this.step = step;
    this.slots = slots;
    this.#width = width;
    this.#cells = new Float64Array(slots * width);
  }

  /** Adds to the row of `now`, in milliseconds since the epoch; to the newest one when the clock was set back. */
  add(now: number, field: number, amount: number): void {
    const at = this.#advance(now) + field;
    this.#cells[at] = (this.#cells[at] as number) + amount;
  }

  /** Adds 1 to each of the fields, as `add` does. */
  count(now: number, fields: readonly number[]): void {
    const offset = this.#advance(now);
    for (const field of fields) {
      const at = offset + field;
      this.#cells[at] = (this.#cells[at] as number) + 1;
    }
  }

  /** Adds evenly to the rows from `from` to `now`: a transfer of a minute is not the work of its last second. */
  spread(from: number, now: number, field: number, amount: number): void {
    const first = Math.min(Math.floor(from / this.step), Math.floor(now / this.step));
    this.#advance(now);
    const steps = Math.max(1, this.#newest - first + 1);
    const kept = Math.max(first, this.#newest - this.slots + 1);
    for (let step = kept; step <= this.#newest; step++) {
      const at = this.#offset(step) + field;
      this.#cells[at] = (this.#cells[at] as number) + amount / steps;
    }
  }

  /** Sum over the last `count` rows, that of `now` included. */
  sum(now: number, count: number, field: number): number {
    this.#advance(now);
    let sum = 0;
    const first = this.#newest - Math.min(count, this.slots) + 1;
    for (let step = first; step <= this.#newest; step++)
      sum += this.#cells[this.#offset(step) + field] as number;
    return sum;
  }

  /** One field of every row, oldest first; the last is the row of `now`, which is not over yet. */
  column(now: number, field: number): number[] {
    this.#advance(now);
    return Array.from({ length: this.slots }, (_, i) => {
      const step = this.#newest - this.slots + 1 + i;
      return Math.round(this.#cells[this.#offset(step) + field] as number);
    });
  }

  /** When the oldest row begins, in milliseconds since the epoch. */
  start(now: number): number {
    this.#advance(now);
    return (this.#newest - this.slots + 1) * this.step;
  }

  /** The rows that hold anything, for `restore`. */
  save(): SavedRows {
    const rows: [number, number[]][] = [];
    for (let step = this.#newest - this.slots + 1; step <= this.#newest; step++) {
      const offset = this.#offset(step);
      const row = [...this.#cells.subarray(offset, offset + this.#width)].map((value) => Math.round(value));
      if (row.some((value) => value !== 0)) rows.push([step, row]);
    }
    return rows;
  }

  /** Adds saved rows, those that are not too old and not of the future. */
  restore(now: number, rows: SavedRows): void {
    this.#advance(now);
    for (const [step, values] of rows) {
      if (!(step > this.#newest - this.slots && step <= this.#newest)) continue;
      const offset = this.#offset(step);
      for (let i = 0; i < this.#width; i++)
        this.#cells[offset + i] = (this.#cells[offset + i] as number) + (values[i] ?? 0);
    }
  }

  /** Makes the row of `now` the newest and gives its offset. */
  #advance(now: number): number {
    if (now >= this.#begins && now < this.#ends) return this.#at;
    const step = Math.floor(now / this.step);
    if (step > this.#newest) {
      for (let gone = Math.max(this.#newest + 1, step - this.slots + 1); gone <= step; gone++) {
        const offset = this.#offset(gone);
        this.#cells.fill(0, offset, offset + this.#width);
      }
      this.#newest = step;
    } else if (this.#newest - step >= this.slots) {
      // Set back by more than is kept: nothing here is of the recent past any more.
      this.#cells.fill(0);
      this.#newest = step;
    }
    this.#begins = this.#newest * this.step;
    this.#ends = this.#begins + this.step;
    this.#at = this.#offset(this.#newest);
    return this.#at;
  }

  #offset(step: number): number {
    return (((step % this.slots) + this.slots) % this.slots) * this.#width;
  }
}
