// A value that cannot be printed by accident.
import { inspect } from "node:util";

/** Holds a secret string. String conversion, JSON and util.inspect all give `[redacted]`; `reveal` gives it. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  /** The secret itself: only where a request header is built. */
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return "[redacted]";
  }
  toJSON(): string {
    return "[redacted]";
  }
  [inspect.custom](): string {
    return "[redacted]";
  }
}
