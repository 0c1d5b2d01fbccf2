// Tag records in the index (TagStore), and which there are (KnownTags).

import type { Digest } from "../../oci/digest.ts";
import type { Repository, Tag } from "../../oci/name.ts";
import type { KnownTags } from "../../ports/pins/pins.ts";
import type { TagRecord, TagStore } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { type Database, digestKey, digestOfKey, type Statement } from "./database.ts";
import { type Repositories, repositoryId } from "./repositories.ts";

export class SqliteTags implements TagStore, KnownTags {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #get: Statement;
  readonly #put: Statement;
  readonly #delete: Statement;
  readonly #repositoriesAfter: Statement;
  readonly #tagsOf: Statement;
  readonly #page: Statement;

  constructor(database: Database, repositories: Repositories) {
    this.#database = database;
    this.#repositories = repositories;
    this.#get = database.prepare(
      `SELECT digest, media_type, size, checked_at FROM tags WHERE repository = ${repositoryId} AND tag = ?`,
    );
    this.#put = database.prepare(
      `INSERT INTO tags (repository, tag, digest, media_type, size, checked_at) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET digest = excluded.digest, media_type = excluded.media_type,
         size = excluded.size, checked_at = excluded.checked_at
       WHERE excluded.checked_at >= tags.checked_at`,
    );
    this.#repositoriesAfter = database.prepare(
      "SELECT id, upstream, name FROM repositories WHERE id > ? ORDER BY id LIMIT ?",
    );
    this.#tagsOf = database.prepare("SELECT tag FROM tags WHERE repository = ? ORDER BY tag LIMIT ?");
    this.#delete = database.prepare(`DELETE FROM tags WHERE repository = ${repositoryId} AND tag = ?`);
    this.#page = database.prepare(
      `SELECT tag, digest, checked_at FROM tags WHERE repository = ${repositoryId} AND tag > ? ORDER BY tag LIMIT ?`,
    );
  }

  async get(scope: Scope, tag: Tag): Promise<TagRecord | undefined> {
    const row = this.#get.get(scope.upstream, scope.repository, tag);
    return (
      row && {
        digest: digestOfKey(row.digest),
        mediaType: String(row.media_type),
        size: Number(row.size),
        checkedAt: Number(row.checked_at),
      }
    );
  }

  async put(scope: Scope, tag: Tag, record: TagRecord): Promise<boolean> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    const id = this.#repositories.id(scope);
    const { digest, mediaType, size, checkedAt } = record;
    return this.#put.run(id, tag, digestKey(digest), mediaType, size, Math.round(checkedAt)) > 0;
  }

  async delete(scope: Scope, tag: Tag): Promise<void> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    this.#delete.run(scope.upstream, scope.repository, tag);
  }

  repositories(after: number, limit: number): readonly (Scope & { readonly id: number })[] {
    return this.#repositoriesAfter.all(after, limit).map(({ id, upstream, name }) => ({
      id: Number(id),
      upstream: String(upstream),
      repository: name as Repository,
    }));
  }

  tagsOf(id: number, limit: number): readonly string[] {
    return this.#tagsOf.all(id, limit).map(({ tag }) => String(tag));
  }

  /** Tags of the repository that have a record, in their order, after `last`, at most `limit`. */
  page(
    scope: Scope,
    last: string,
    limit: number,
  ): readonly { readonly tag: Tag; readonly digest: Digest; readonly checkedAt: number }[] {
    return this.#page.all(scope.upstream, scope.repository, last, limit).map((row) => ({
      tag: String(row.tag) as Tag,
      digest: digestOfKey(row.digest),
      checkedAt: Number(row.checked_at),
    }));
  }
}
