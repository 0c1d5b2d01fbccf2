// Lets a few through in every turn of the event loop: what a hundred do at once would hold up everybody else.

/** Let through in one turn. */
const perTurn = 8;

export class Turnstile {
  #waiting: (() => void)[] = [];

  /** In order. */
  pass(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) setImmediate(() => this.#turn());
    });
  }

  #turn(): void {
    const passing = this.#waiting.slice(0, perTurn);
    this.#waiting = this.#waiting.slice(perTurn);
    if (this.#waiting.length > 0) setImmediate(() => this.#turn());
    for (const pass of passing) pass();
  }
}
