// Work that nobody waits for, a little at a time.

const maxWaiting = 100;
const maxRunning = 2;

type Work = () => Promise<unknown>;

export class Prefetch {
  readonly #waiting: Work[] = [];
  #running = 0;

  /** Runs it when two others at most have begun before it and not ended. Drops it when 100 wait; failures are its own. */
  add(work: Work): void {
    if (this.#waiting.length < maxWaiting) this.#waiting.push(work);
    if (this.#running < maxRunning) void this.#run();
  }

  /** What has not begun never will. */
  stop(): void {
    this.#waiting.length = 0;
  }

  async #run(): Promise<void> {
    this.#running++;
    for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) {
      // The next client meets the same failure, and is told.
      await work().catch(() => {});
    }
    this.#running--;
  }
}
