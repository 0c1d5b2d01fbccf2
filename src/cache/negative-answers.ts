// What upstream has just said is not there. It is remembered for seconds, so that a client that retries, or a fleet that
// asks for an image not yet pushed, does not reach over the long link each time. It is dropped at once when something is
// pushed. The nodes of a datacenter announce both to each other.
import { LRUCache } from "lru-cache";
import type { Clock } from "../ports/clock.ts";
import { deleteIn, keyIn, type Scope } from "../ports/scope.ts";
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
          const { scope, as, what } = announcement;
          this.#remember(keyIn(scope, `${as} ${what}`));
        } else if (kind === "written") this.#forget(announcement.scope);
      },
      () => this.#answers?.clear(),
    );
  }

  /** `what` is a tag or digest; a digest may be absent as a manifest and present as a blob. */
  has(scope: Scope, kind: "manifest" | "blob", what: string): boolean {
    return this.#answers?.has(keyIn(scope, `${kind} ${what}`)) ?? false;
  }

  add(scope: Scope, kind: "manifest" | "blob", what: string): void {
    this.#remember(keyIn(scope, `${kind} ${what}`));
    void this.#announcements?.publish({ kind: "absent", scope, as: kind, what });
  }

  /** Forgets everything about the repository: something has changed there. Resolves when the other nodes know (Announcements). */
  async forget(scope: Scope): Promise<void> {
    this.#forget(scope);
    await this.#announcements?.publish({ kind: "written", scope });
  }

  #remember(key: string): void {
    this.#answers?.set(key, true);
  }

  #forget(scope: Scope): void {
    if (this.#answers !== undefined) deleteIn(this.#answers, scope);
  }
}
