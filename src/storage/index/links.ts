// Which repository contains which digest, in the index. Links to blobs that are here do not end: they are needed while
// upstream is away. Other links end after their last confirmation: after 30 days when a manifest that is here names the
// digest, after an hour when none does. Without a link a request is neither granted nor refused: upstream is asked.
// Links that nodes share in Redis have an age of their own, because another node may have the blob.

import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import { type Clock, clockTolerance, recordAge } from "../../ports/clock.ts";
import type { LinkedBlob, OwnLinks, Proofs } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { type Database, digestKey, digestOfKey, type Row, type Statement } from "./database.ts";
import { type Repositories, repositoryId } from "./repositories.ts";

/**
 * Milliseconds from the last confirmation to the end of a link to what is not here; `namedAge` when a manifest names
 * it.
 */
const orphanAge = 3_600_000;
const namedAge = 30 * 86_400_000;
/** Milliseconds in which a link that is confirmed again is not written again. */
const confirmedEvery = 600_000;
/** Links at most. The index counts in the size of the cache. */
const maxLinks = 4_000_000;
/** Links beyond the bound that an `add` may end, besides as many as it adds. */
const extraEnded = 100;

export interface SqliteLinksOptions {
  /** Links at most; another number only in tests. */
  readonly max?: number;
}

export class SqliteLinks implements OwnLinks {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #clock: Clock;
  readonly #proofs: (upstream: string) => Proofs;
  readonly #max: number;
  readonly #named: Statement;
  readonly #shown: Statement;
  readonly #add: Statement;
  readonly #remove: Statement;
  readonly #end: Statement;
  readonly #page: Statement;
  readonly #keys: Statement;
  readonly #count: Statement;
  readonly #ahead: Statement;
  readonly #oldest: Statement;
  readonly #confirm: Statement;
  readonly #size: Statement;
  readonly #childSize: Statement;
  readonly #repositoriesOf: Statement;
  readonly #ended: ((scope: Scope, digest: Digest) => void)[] = [];
  /** The link the next sweep goes on after. */
  #swept: LinkPlace = first;

  constructor(
    database: Database,
    repositories: Repositories,
    clock: Clock,
    proofs: (upstream: string) => Proofs,
    { max = maxLinks }: SqliteLinksOptions = {},
  ) {
    this.#database = database;
    this.#repositories = repositories;
    this.#clock = clock;
    this.#proofs = proofs;
    this.#max = max;
    this.#named = database.prepare(
      `SELECT shown FROM links WHERE digest = ? AND repository = ${repositoryId}`,
    );
    this.#shown = database.prepare(
      `SELECT 1 FROM links JOIN repositories ON repositories.id = links.repository
       WHERE digest = ? AND shown = 1 AND upstream = ? LIMIT 1`,
    );
    this.#add = database.prepare(
      `INSERT INTO links (digest, repository, size, shown, confirmed_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET size = ifnull(size, excluded.size), shown = max(shown, excluded.shown),
         confirmed_at = excluded.confirmed_at
       WHERE (size IS NULL AND excluded.size IS NOT NULL) OR shown < excluded.shown
         OR confirmed_at NOT BETWEEN excluded.confirmed_at - ${confirmedEvery}
           AND excluded.confirmed_at + ${clockTolerance}`,
    );
    this.#remove = database.prepare(`DELETE FROM links WHERE digest = ? AND repository = ${repositoryId}`);
    this.#end = database.prepare("DELETE FROM links WHERE digest = ? AND repository = ?");
    this.#page = database.prepare(
      `SELECT digest, repository, confirmed_at,
         EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = links.digest) AS here,
         EXISTS (SELECT 1 FROM children WHERE child = links.digest) AS named
       FROM links WHERE (digest, repository) > (?, ?) ORDER BY digest, repository LIMIT ?`,
    );
    this.#keys = database.prepare(
      "SELECT digest, repository FROM links WHERE (digest, repository) > (?, ?) ORDER BY digest, repository LIMIT ?",
    );
    this.#count = database.prepare("SELECT links FROM state");
    const candidates = `SELECT digest, repository,
      EXISTS (SELECT 1 FROM children WHERE manifest = links.digest) AS naming FROM links`;
    this.#ahead = database.prepare(`${candidates} WHERE confirmed_at > ? ORDER BY confirmed_at LIMIT ?`);
    this.#oldest = database.prepare(`${candidates} WHERE confirmed_at <= ? ORDER BY confirmed_at LIMIT ?`);
    this.#confirm = database.prepare("UPDATE links SET confirmed_at = ? WHERE digest = ? AND repository = ?");
    this.#size = database.prepare(
      `SELECT size FROM links WHERE digest = ? AND size IS NOT NULL
       ORDER BY repository = ${repositoryId} DESC LIMIT 1`,
    );
    this.#childSize = database.prepare(
      "SELECT size FROM children WHERE child = ? AND size IS NOT NULL LIMIT 1",
    );
    this.#repositoriesOf = database.prepare(
      `SELECT upstream, name FROM links JOIN repositories ON repositories.id = links.repository
       WHERE digest = ? LIMIT ?`,
    );
  }

  async has(scope: Scope, digest: Digest): Promise<boolean> {
    const key = digestKey(digest);
    const link = this.#named.get(key, scope.upstream, scope.repository);
    if (link === undefined) return false;
    const proofs = this.#proofs(scope.upstream);
    if (proofs === "shared" || link.shown === 1) return true;
    return proofs === "own" && this.#shown.get(key, scope.upstream) !== undefined;
  }

  async named(scope: Scope, digest: Digest): Promise<boolean> {
    if (this.#proofs(scope.upstream) === "none") return false;
    return this.#named.get(digestKey(digest), scope.upstream, scope.repository) !== undefined;
  }

  async add(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void> {
    if (blobs.length === 0) return;
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#database.transaction(() => {
      const id = this.#repositories.id(scope);
      const now = Math.round(this.#clock());
      for (const { digest, size, named } of blobs)
        this.#add.run(digestKey(digest), id, size ?? null, named ? 0 : 1, now);
      this.#keepBound(blobs.length + extraEnded);
    });
  }

  onEnd(ended: (scope: Scope, digest: Digest) => void): void {
    this.#ended.push(ended);
  }

  /**
   * Checks the next `limit` links, in a round over all of them, and ends those that are too old. Does nothing while the
   * database pauses writes. Throws StoreError.
   */
  sweep(limit: number): void {
    if (this.#database.pause !== undefined) return;
    const links = this.#page.all(this.#swept.digest, this.#swept.repository, limit);
    const last = links.length < limit ? undefined : links.at(-1);
    this.#swept = last === undefined ? first : keyOf(last);
    const now = this.#clock();
    const over = links.filter((link) => hasEnded(link, now));
    if (over.length === 0 && Number(this.#count.get()?.links) <= this.#max) return;
    this.#database.transaction(() => {
      for (const link of over) this.#endOne(link);
      this.#keepBound(limit);
    });
  }

  /**
   * While there are too many links, ends those confirmed the longest ago, `limit` at most. A link to a manifest that is
   * here and names others is renewed instead, because `parentsIn` needs it to know what may be denied. There are at
   * most as many of these as stored blobs.
   */
  #keepBound(limit: number): void {
    const over = Math.min(limit, Number(this.#count.get()?.links) - this.#max);
    if (over <= 0) return;
    const now = Math.round(this.#clock());
    const latest = now + clockTolerance;
    const ahead = this.#ahead.all(latest, over);
    const rest = over > ahead.length ? this.#oldest.all(latest, over - ahead.length) : [];
    for (const link of [...ahead, ...rest]) {
      const { digest, repository } = keyOf(link);
      if (link.naming === 1) this.#confirm.run(now, digest, repository);
      else this.#endOne(link);
    }
  }

  #endOne(link: Row): void {
    const { digest, repository } = keyOf(link);
    this.#end.run(digest, repository);
    const scope = this.#repositories.named(repository);
    if (scope !== undefined) for (const ended of this.#ended) ended(scope, digestOfKey(digest));
  }

  async remove(scope: Scope, digest: Digest): Promise<void> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#remove.run(digestKey(digest), scope.upstream, scope.repository);
  }

  async removeAll(scope: Scope, digests: readonly Digest[]): Promise<boolean> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#database.transaction(() => {
      for (const digest of digests) this.#remove.run(digestKey(digest), scope.upstream, scope.repository);
    });
    return true;
  }

  /**
   * The digests of a repository among the next `limit` links of all, and where the next page begins; undefined after the last
   * one. Links are kept by digest.
   */
  page(
    scope: Scope,
    after: LinkPlace | undefined,
    limit: number,
  ): { readonly digests: readonly Digest[]; readonly next: LinkPlace | undefined } {
    const { digest, repository } = after ?? first;
    const id = this.#repositories.known(scope);
    if (id === undefined) return { digests: [], next: undefined };
    const rows = this.#keys.all(digest, repository, limit);
    const last = rows.length < limit ? undefined : rows.at(-1);
    return {
      digests: rows.filter((row) => row.repository === id).map((row) => digestOfKey(row.digest)),
      next: last && keyOf(last),
    };
  }

  async statedSize(scope: Scope, digest: Digest): Promise<number | undefined> {
    const key = digestKey(digest);
    const row = this.#size.get(key, scope.upstream, scope.repository) ?? this.#childSize.get(key);
    return row && Number(row.size);
  }

  /** At most `limit` repositories that are known to contain the digest, in no order. */
  repositoriesOf(digest: Digest, limit: number): readonly Scope[] {
    return this.#repositoriesOf
      .all(digestKey(digest), limit)
      .map((row) => ({ upstream: String(row.upstream), repository: row.name as Repository }));
  }
}

/** Where a link is among all. */
export interface LinkPlace {
  readonly digest: Uint8Array;
  readonly repository: number;
}

/** Sorts before every link. */
const first: LinkPlace = { digest: new Uint8Array(), repository: 0 };

function keyOf(link: Row): LinkPlace {
  return { digest: link.digest as Uint8Array, repository: Number(link.repository) };
}

/** A confirmation in the future comes from a wrong clock, and counts as old. */
function hasEnded({ confirmed_at, here, named }: Row, now: number): boolean {
  if (here === 1) return false;
  return recordAge(Number(confirmed_at), now) > (named === 1 ? namedAge : orphanAge);
}
