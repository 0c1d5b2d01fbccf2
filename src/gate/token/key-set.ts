// The public keys of somebody who signs tokens (RFC 7517, "JWK Set"): kept, read again now and then and when a token names one
// that is not known, and never given up because they cannot be read now.
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import type { Clock } from "../../ports/clock.ts";
import { SharedCall } from "../../ports/single-flight.ts";
import { DirectoryDown } from "../directory.ts";

export interface KeySetOptions {
  /** Reads the set as it is now. It must end by itself. */
  readonly load: () => Promise<unknown>;
  /** Reading it costs nobody anything: it is done every second then. */
  readonly isNear: boolean;
  /** Called when it cannot be read, with why. */
  readonly failed: (problem: string) => void;
  /** A steady one. */
  readonly clock: Clock;
}

/**
 * Milliseconds after which the set is read again, in the background; between two readings, whatever tokens name; and after
 * one that has failed.
 */
const pauses = {
  far: { refresh: 600_000, between: 30_000, afterFailure: 5_000 },
  near: { refresh: 1_000, between: 1_000, afterFailure: 1_000 },
};

export class KeySet {
  readonly #options: KeySetOptions;
  readonly #pauses: typeof pauses.far;
  readonly #loading = new SharedCall<void>();
  #keys: JWTVerifyGetKey | undefined;
  /** When it was read well, and from when on it may be read again. */
  #loadedAt = 0;
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: KeySetOptions) {
    this.#options = options;
    this.#pauses = pauses[options.isNear ? "near" : "far"];
  }

  /** Reads the set if it is not known yet. Never rejects. */
  async prepare(): Promise<void> {
    if (this.#keys === undefined) await this.#load();
  }

  /** For jose. Rejects with JOSEError for a key that is not in the set, with DirectoryDown while the set was never read. */
  readonly get: JWTVerifyGetKey = async (header, token) => {
    if (this.#keys === undefined) await this.#load();
    const keys = this.#keys;
    if (keys === undefined) throw new DirectoryDown("the keys of tokens cannot be read");
    if (this.#options.clock() - this.#loadedAt >= this.#pauses.refresh) void this.#load();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#load();
      if (this.#keys === keys || this.#keys === undefined) throw error;
      return await this.#keys(header, token);
    }
  };

  /** Never rejects: what was read before stays. */
  async #load(): Promise<void> {
    const { load, failed, clock } = this.#options;
    if (!this.#loading.isRunning && clock() < this.#notBefore) return;
    await this.#loading.run(async () => {
      try {
        const keys = createLocalJWKSet((await load()) as JSONWebKeySet);
        this.#keys = keys;
        this.#loadedAt = clock();
        this.#notBefore = this.#loadedAt + this.#pauses.between;
      } catch (error) {
        this.#notBefore = clock() + this.#pauses.afterFailure;
        failed(error instanceof Error ? error.message : String(error));
      }
    });
  }
}
