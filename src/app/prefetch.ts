// Work that no client waits for, two items at a time.

const maxWaiting = 100;
const maxRunning = 2;

type Work = () => Promise<unknown>;

export class Prefetch {
  readonly #waiting: Work[] = [];
  #running = 0;

  /** Runs the work when fewer than two others are running. Drops it when 100 wait. Failures are ignored. */
  add(work: Work): void {
    if (this.#waiting.length < maxWaiting) this.#waiting.push(work);
    if (this.#running < maxRunning) void this.#run();
  }

  /** Drops the work that has not begun. */
  stop(): void {
    this.#waiting.length = 0;
  }

  async #run(): Promise<void> {
    this.#running++;
    for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) {
      // The next client meets the same failure and gets the error.
      await work().catch(() => {});
    }
    this.#running--;
  }
}
