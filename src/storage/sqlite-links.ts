// Which repository contains which digest, in the index. Links outlive their blobs (schema.ts).
import type { LinkedBlob, LinkStore, Proofs } from "../cache/ports.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Database, Statement } from "./database.ts";
import { digestKey, digestOfKey } from "./digest-key.ts";
import { type Repositories, repositoryId } from "./sqlite-repositories.ts";

export class SqliteLinks implements LinkStore {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #proofs: Proofs;
  readonly #named: Statement;
  readonly #shown: Statement;
  readonly #add: Statement;
  readonly #remove: Statement;
  readonly #size: Statement;
  readonly #repositoriesOf: Statement;
  readonly #parents: Statement;

  constructor(database: Database, repositories: Repositories, proofs: Proofs) {
    this.#database = database;
    this.#repositories = repositories;
    this.#proofs = proofs;
    this.#named = database.prepare(
      `SELECT shown FROM links WHERE digest = ? AND repository = ${repositoryId}`,
    );
    this.#shown = database.prepare(
      `SELECT 1 FROM links JOIN repositories ON repositories.id = links.repository
       WHERE digest = ? AND shown = 1 AND upstream = ? LIMIT 1`,
    );
    this.#add = database.prepare(
      `INSERT INTO links (digest, repository, size, shown) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET size = ifnull(size, excluded.size), shown = max(shown, excluded.shown)
       WHERE (size IS NULL AND excluded.size IS NOT NULL) OR shown < excluded.shown`,
    );
    this.#remove = database.prepare(`DELETE FROM links WHERE digest = ? AND repository = ${repositoryId}`);
    this.#size = database.prepare(
      `SELECT size FROM links WHERE digest = ? AND size IS NOT NULL
       ORDER BY repository = ${repositoryId} DESC LIMIT 1`,
    );
    this.#parents = database.prepare(
      `SELECT manifest FROM children JOIN links ON links.digest = children.manifest
       WHERE child = ? AND links.repository = ${repositoryId} LIMIT ?`,
    );
    this.#repositoriesOf = database.prepare(
      `SELECT upstream, name FROM links JOIN repositories ON repositories.id = links.repository
       WHERE digest = ? LIMIT ?`,
    );
  }

  async has(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    const key = digestKey(digest);
    const link = this.#named.get(key, upstream, repository);
    if (link === undefined) return false;
    return this.#proofs === "shared" || link.shown === 1 || this.#shown.get(key, upstream) !== undefined;
  }

  async named(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    return this.#named.get(digestKey(digest), upstream, repository) !== undefined;
  }

  async add(upstream: string, repository: Repository, blobs: readonly LinkedBlob[]): Promise<void> {
    if (blobs.length === 0) return;
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#database.transaction(() => {
      const id = this.#repositories.id(upstream, repository);
      for (const { digest, size, named } of blobs)
        this.#add.run(digestKey(digest), id, size ?? null, named ? 0 : 1);
    });
  }

  async remove(upstream: string, repository: Repository, digest: Digest): Promise<void> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#remove.run(digestKey(digest), upstream, repository);
  }

  async statedSize(upstream: string, repository: Repository, digest: Digest): Promise<number | undefined> {
    const row = this.#size.get(digestKey(digest), upstream, repository);
    return row && Number(row.size);
  }

  /** See ImageGraph. */
  parentsIn(upstream: string, repository: Repository, digest: Digest, limit: number): readonly Digest[] {
    return this.#parents
      .all(digestKey(digest), upstream, repository, limit)
      .map(({ manifest }) => digestOfKey(manifest));
  }

  /** At most `limit` repositories that are known to contain the digest, in no order. */
  repositoriesOf(
    digest: Digest,
    limit: number,
  ): readonly { readonly upstream: string; readonly repository: Repository }[] {
    return this.#repositoriesOf
      .all(digestKey(digest), limit)
      .map((row) => ({ upstream: String(row.upstream), repository: row.name as Repository }));
  }
}
