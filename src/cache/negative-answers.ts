// What upstream has just said is not there. Remembered for seconds, so that a client that retries, or a fleet asking
// for an image not yet pushed, does not reach over the long link each time; dropped at once when something is pushed.
// The other nodes of the datacenter are told, and tell this one.
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
      (news) => {
        if (news.kind === "absent") this.#remember(keyOf(news.upstream, news.repository, news.as, news.what));
        else if (news.kind === "written") this.#forget(news.upstream, news.repository);
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

  /** Everything about the repository: something has changed there. */
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
