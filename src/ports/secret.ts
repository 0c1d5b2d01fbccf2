// A value that cannot be printed by accident, and where it comes from while the program runs.
import { createHash, timingSafeEqual } from "node:crypto";
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

/** A secret that may change while the program runs. */
export interface SecretSource {
  /** The secret as it is now. Never rejects: what was good once stays in use until there is something better. */
  read(): Promise<Secret> | Secret;
  /** Why the secret last read may be out of date, for people; undefined when it is not. */
  readonly problem: string | undefined;
}

/** A secret that stays as it is. */
export function fixedSecret(secret: Secret): SecretSource {
  return { read: () => secret, problem: undefined };
}

/** Whether what was shown is the secret; takes the same time for every wrong one of a length. */
export function isSameSecret(shown: string, secret: string): boolean {
  return timingSafeEqual(hash(shown), hash(secret));
}

/** The same length whatever was sent, as timingSafeEqual wants it. */
function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
