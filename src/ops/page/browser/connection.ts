// Whether the node of this page still answers, by what has come of it and what has failed.

/** Failures in a row that mean it. One may be a proxy that has ended the stream: the browser connects again. */
const maxFailures = 2;
/** Intervals without a word that mean it: a machine without power does not even end its connections. */
const maxIntervals = 2;

/** Times in milliseconds by one clock. */
export class Connection {
  #heardAt: number;
  #begunAt: number;
  #interval = Number.POSITIVE_INFINITY;
  #failures = 0;

  /** The page itself came at `now`. */
  constructor(now: number) {
    this.#heardAt = now;
    this.#begunAt = now;
  }

  /** From now on there should be something at least every `interval` milliseconds. */
  begins(now: number, interval: number): void {
    this.#begunAt = now;
    this.#interval = interval;
  }

  heard(now: number): void {
    this.#heardAt = now;
    this.#failures = 0;
  }

  failed(): void {
    this.#failures++;
  }

  /** For how long nothing has been heard; undefined while that means nothing. */
  lostFor(now: number): number | undefined {
    const silent = now - Math.max(this.#heardAt, this.#begunAt);
    const isLost = this.#failures >= maxFailures || silent > maxIntervals * this.#interval;
    return isLost ? now - this.#heardAt : undefined;
  }
}
