// Whether upstream still has what clients are about to push. They skip what HEAD finds. If this mirror answered from its
// cache after upstream had collected its garbage, the push would succeed and parts of it would be missing upstream.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { inTime } from "../ports/deadline.ts";
import { deleteIn, keyIn, type Scope } from "../ports/scope.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { headByDigest, type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import type { Refusal } from "../ports/upstream-answer.ts";
import type { Access } from "./access.ts";
import { boundedByKeys } from "./memory-size.ts";
import type { NegativeAnswers } from "./negative-answers.ts";

/** Milliseconds a client waits for upstream's answer, and in which that answer is given again. */
const answerTimeout = 2_000;
const memory = 30_000;
/** Milliseconds after which a tag is confirmed before HEAD of it is answered, whatever its time to live. */
export const confirmTagAfter = 60_000;

export interface ConfirmationsOptions {
  readonly access: Access;
  readonly negative: NegativeAnswers;
  readonly clock: Clock;
  readonly pause: Pause;
}

export class Confirmations {
  readonly #options: ConfirmationsOptions;
  readonly #confirmed: LRUCache<string, true>;
  readonly #flights = new SingleFlight<Refusal | undefined>();
  /** Times that something was forgotten: a request that comes after joins no question of before. */
  #writes = 0;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
    this.#confirmed = new LRUCache<string, true>({
      ...boundedByKeys,
      ttl: memory,
      ttlResolution: 0,
      perf: { now: options.clock },
    });
  }

  /**
   * Upstream's refusal of what is here; undefined when it has it, fails, is not asked at present, or takes more than two
   * seconds. What it does not have any more is unlinked and remembered as absent.
   */
  async refusal(
    remote: RemoteRepository,
    digest: Digest,
    as: "blob" | "manifest",
  ): Promise<Refusal | undefined> {
    const key = keyIn(remote, `${as} ${digest}`);
    if (!remote.registry.available || this.#confirmed.has(key)) return undefined;
    const { promise } = this.#flights.run(`${this.#writes} ${key}`, () => this.#ask(remote, digest, as, key));
    return (await inTime(promise, answerTimeout, this.#options.pause)) ? await promise : undefined;
  }

  /** Forgets everything about the repository: something has changed there. */
  forget(scope: Scope): void {
    this.#writes += 1;
    deleteIn(this.#confirmed, scope);
  }

  /** Never rejects with UpstreamError. */
  async #ask(
    remote: RemoteRepository,
    digest: Digest,
    as: "blob" | "manifest",
    key: string,
  ): Promise<Refusal | undefined> {
    const { access, negative } = this.#options;
    const writes = this.#writes;
    try {
      const head = await headByDigest(remote, digest, as);
      if (head.kind === "found") {
        const isDoubtful = "doubt" in head && head.doubt !== undefined;
        if (!isDoubtful && writes === this.#writes) this.#confirmed.set(key, true);
        return undefined;
      }
      if (head.kind === "absent") {
        await access.unlink(remote, digest);
        negative.add(remote, as, digest);
      }
      return head;
    } catch (error) {
      if (error instanceof UpstreamError) return undefined;
      throw error;
    }
  }
}
