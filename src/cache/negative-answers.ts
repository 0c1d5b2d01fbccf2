// What upstream has just said is not there. It is remembered for seconds, so that a client that retries, or a fleet that
// asks for an image not yet pushed, does not reach over the long link each time. It is dropped at once when something is
// pushed. The nodes of a datacenter announce both to each other.
import { LRUCache } from "lru-cache";
import type { Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import { deleteBelow, keyOf } from "../ports/keys.ts";
import type { Announcements } from "../ports/shared.ts";
import { boundedByKeys } from "./memory-size.ts";

export class NegativeAnswers {
  readonly #answers: LRUCache<string, true> | undefined;
  readonly #announcements: Announcements | undefined;

  /** `ttl` in milliseconds; 0 remembers nothing. */
  constructor(ttl: number, clock: Clock, announcements?: Announcements) {
    if (ttl > 0) {
      this.#answers = new LRUCache<string, true>({
        ...boundedByKeys,
        ttl,
        ttlResolution: 0,
        perf: { now: clock },
      });
    }
    this.#announcements = announcements;
    announcements?.subscribe(
      (announcement) => {
        const { kind } = announcement;
        if (kind === "absent") {
          const { upstream, repository, as, what } = announcement;
          this.#remember(keyOf(upstream, repository, as, what));
        } else if (kind === "written") this.#forget(announcement.upstream, announcement.repository);
      },
      () => this.#answers?.clear(),
    );
  }

  /** `what` is a tag or digest; a digest may be absent as a manifest and present as a blob. */
  has(upstream: string, repository: Repository, kind: "manifest" | "blob", what: string): boolean {
    return this.#answers?.has(keyOf(upstream, repository, kind, what)) ?? false;
  }

  add(upstream: string, repository: Repository, kind: "manifest" | "blob", what: string): void {
    this.#remember(keyOf(upstream, repository, kind, what));
    this.#announcements?.publish({ kind: "absent", upstream, repository, as: kind, what });
  }

  /** Forgets everything about the repository: something has changed there. */
  forget(upstream: string, repository: Repository): void {
    this.#forget(upstream, repository);
    this.#announcements?.publish({ kind: "written", upstream, repository });
  }

  #remember(key: string): void {
    this.#answers?.set(key, true);
  }

  #forget(upstream: string, repository: Repository): void {
    if (this.#answers !== undefined) deleteBelow(this.#answers, upstream, repository);
  }
}
