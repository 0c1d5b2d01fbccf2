// The grants a worker remembers (ports/grant.ts), each by the request it was given for. They end by themselves after some
// seconds at most, and at once when the primary says that what they are about has changed.
import { LRUCache } from "lru-cache";
import { bodyBytes } from "../cache/memory-size.ts";
import type { Grant } from "../ports/grant.ts";
import { keyIn, type Scope } from "../ports/scope.ts";

/** Bytes of bodies and keys, and grants, of one worker at most. */
const maxBytes = 32 * 1024 * 1024;
const maxGrants = 20_000;
/**
 * Milliseconds a grant is used at most. News from the primary ends it sooner; this is the bound for everything that is not
 * news: a link that ends by its age, a check of the stored bytes that is due.
 */
export const longestUse = 10_000;

export interface Remembered {
  readonly grant: Grant;
  /** Of a manifest or a small blob; undefined: it is read from the store, or was not sent since HEAD asked. */
  readonly body: Buffer | undefined;
  /** When it was given and until when it is used, by the steady clock. */
  readonly at: number;
  readonly until: number;
}

/** What is to be forgotten; an upstream alone means all of its repositories, nothing at all means everything. */
export type Forget = Partial<Scope>;

/** The same for what forgets the same. Neither names of upstreams nor repositories have a space. */
export function forgetKey({ upstream, repository }: Forget): string {
  return `${upstream ?? ""} ${repository ?? ""}`;
}

export class Grants {
  readonly #remembered: LRUCache<string, Remembered>;
  /** The keys of each repository. */
  readonly #scopes = new Map<string, Set<string>>();
  /** Counts news; and which of them was the last about everything, and about each repository or upstream. */
  #news = 0;
  #lastOfAll = 0;
  readonly #lastOf: LRUCache<string, number>;

  constructor() {
    this.#remembered = new LRUCache({
      max: maxGrants,
      maxSize: maxBytes,
      sizeCalculation: ({ body }, key) => key.length + 500 + (body === undefined ? 0 : bodyBytes(body)),
      dispose: ({ grant }, key) => this.#unlist(grant, key),
    });
    this.#lastOf = new LRUCache({
      max: maxGrants,
      // What is no longer known of one may have been about any.
      dispose: (news, _key, why) => {
        if (why === "evict") this.#lastOfAll = Math.max(this.#lastOfAll, news);
      },
    });
  }

  get size(): number {
    return this.#remembered.size;
  }

  get(key: string, now: number): Remembered | undefined {
    const remembered = this.#remembered.get(key);
    return remembered === undefined || now >= remembered.until ? undefined : remembered;
  }

  /** To be taken before the primary is asked, and given to `remember` with its answer. */
  get changes(): number {
    return this.#news;
  }

  /** `asOf`: see `changes`. What has changed since then may be what was granted: that is not remembered. */
  remember(key: string, grant: Grant, body: Buffer | undefined, now: number, asOf: number): void {
    const lasts = Math.min(longestUse, grant.freshFor ?? longestUse, grant.lasts ?? longestUse);
    if (lasts <= 0 || asOf < this.#lastAbout(grant)) return;
    this.#remembered.set(key, { grant, body, at: now, until: now + lasts });
    const scope = keyIn(grant);
    const keys = this.#scopes.get(scope) ?? new Set();
    this.#scopes.set(scope, keys.add(key));
  }

  forget(forget: Forget): void {
    const { upstream, repository } = forget;
    this.#news++;
    if (upstream === undefined) this.#lastOfAll = this.#news;
    else this.#lastOf.set(forgetKey(forget), this.#news);
    if (upstream !== undefined && repository !== undefined) {
      for (const key of [...(this.#scopes.get(keyIn({ upstream, repository })) ?? [])])
        this.#remembered.delete(key);
      return;
    }
    for (const [key, { grant }] of [...this.#remembered.entries()])
      if (upstream === undefined || grant.upstream === upstream) this.#remembered.delete(key);
  }

  #lastAbout({ upstream, repository }: Grant): number {
    const last = (forget: Forget): number => this.#lastOf.get(forgetKey(forget)) ?? 0;
    return Math.max(this.#lastOfAll, last({ upstream }), last({ upstream, repository }));
  }

  #unlist(grant: Grant, key: string): void {
    const scope = keyIn(grant);
    const keys = this.#scopes.get(scope);
    keys?.delete(key);
    if (keys?.size === 0) this.#scopes.delete(scope);
  }
}
