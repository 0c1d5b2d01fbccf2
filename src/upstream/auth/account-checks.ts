// Whether the account itself is refused, or only a repository to it: asked where an account is proved, with nothing else
// wanted. It makes the difference between an outage, over which stale answers help, and a refusal, which is believed.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../ports/clock.ts";
import { SingleFlight } from "../../ports/single-flight.ts";

/** Undefined: where an account is proved says neither. */
export type AccountVerdict = "accepted" | "refused" | undefined;

/** Milliseconds for which a verdict is believed. */
const rememberedFor = 10_000;
/** Accounts and tokens whose verdict is remembered. */
const maxRemembered = 100;

/** Asks once for all that want to know at the same time; a verdict is good for ten seconds. */
export class AccountChecks {
  readonly #known: LRUCache<string, { readonly verdict: AccountVerdict }>;
  readonly #asking = new SingleFlight<AccountVerdict>();

  constructor(clock: Clock) {
    this.#known = new LRUCache({
      max: maxRemembered,
      ttl: rememberedFor,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** `key` stands for the account, or the Authorization value, and for where it is proved. What `ask` rejects with is no verdict. */
  check(key: string, ask: () => Promise<AccountVerdict>): Promise<AccountVerdict> {
    const known = this.#known.get(key);
    if (known !== undefined) return Promise.resolve(known.verdict);
    return this.#asking.run(key, async () => {
      const verdict = await ask().catch(() => undefined);
      this.#known.set(key, { verdict });
      return verdict;
    }).promise;
  }
}

/** How registries answer credentials that are out of date: most with 401, ECR with 403, some token services with 400. */
export function mayRefuseAccount(status: number): boolean {
  return status === 400 || status === 401 || status === 403;
}
