// Which repository contains which digest, in the index. Links outlive their blobs (schema.ts).
import type { LinkedBlob, LinkStore } from "../cache/ports.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Database, Statement } from "./database.ts";
import { digestKey } from "./digest-key.ts";
import { type Repositories, repositoryId } from "./sqlite-repositories.ts";

export class SqliteLinks implements LinkStore {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #has: Statement;
  readonly #add: Statement;
  readonly #remove: Statement;
  readonly #size: Statement;
  readonly #repositoriesOf: Statement;

  constructor(database: Database, repositories: Repositories) {
    this.#database = database;
    this.#repositories = repositories;
    this.#has = database.prepare(`SELECT 1 FROM links WHERE digest = ? AND repository = ${repositoryId}`);
    this.#add = database.prepare(
      `INSERT INTO links (digest, repository, size) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET size = excluded.size WHERE links.size IS NULL AND excluded.size IS NOT NULL`,
    );
    this.#remove = database.prepare(`DELETE FROM links WHERE digest = ? AND repository = ${repositoryId}`);
    this.#size = database.prepare("SELECT size FROM links WHERE digest = ? AND size IS NOT NULL LIMIT 1");
    this.#repositoriesOf = database.prepare(
      `SELECT upstream, name FROM links JOIN repositories ON repositories.id = links.repository
       WHERE digest = ? LIMIT ?`,
    );
  }

  async has(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    return this.#has.get(digestKey(digest), upstream, repository) !== undefined;
  }

  async add(upstream: string, repository: Repository, blobs: readonly LinkedBlob[]): Promise<void> {
    if (blobs.length === 0) return;
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#database.transaction(() => {
      const id = this.#repositories.id(upstream, repository);
      for (const { digest, size } of blobs) this.#add.run(digestKey(digest), id, size ?? null);
    });
  }

  async remove(upstream: string, repository: Repository, digest: Digest): Promise<void> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#remove.run(digestKey(digest), upstream, repository);
  }

  async statedSize(digest: Digest): Promise<number | undefined> {
    const row = this.#size.get(digestKey(digest));
    return row && Number(row.size);
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
