// Repositories as small integers: tags and links carry the number, not the name.
import type { Repository } from "../../oci/name.ts";
import type { Database, Statement } from "./database.ts";

/** `repositoryId` in the SQL of tags and links: reads as nothing when the repository is unknown. */
export const repositoryId = "(SELECT id FROM repositories WHERE upstream = ? AND name = ?)";

export class Repositories {
  readonly #select: Statement;
  readonly #insert: Statement;
  readonly #named: Statement;
  readonly #page: Statement;

  constructor(database: Database) {
    this.#select = database.prepare("SELECT id FROM repositories WHERE upstream = ? AND name = ?");
    this.#insert = database.prepare("INSERT INTO repositories (upstream, name) VALUES (?, ?) RETURNING id");
    this.#named = database.prepare("SELECT upstream, name FROM repositories WHERE id = ?");
    // `present > 0` lets SQLite read the partial index, which has the page in order.
    this.#page = database.prepare(
      "SELECT name FROM repositories WHERE upstream = ? AND name > ? AND present > 0 ORDER BY name LIMIT ?",
    );
  }

  /** The number of a repository, given on first use and never taken back. */
  id(upstream: string, repository: Repository): number {
    const row = this.#select.get(upstream, repository) ?? this.#insert.get(upstream, repository);
    return Number(row?.id);
  }

  /** Which repository has the number. */
  named(id: number): { readonly upstream: string; readonly repository: Repository } | undefined {
    const row = this.#named.get(id);
    return row && { upstream: String(row.upstream), repository: row.name as Repository };
  }

  /** See BlobIndex.repositories. */
  page(upstream: string, last: string, limit: number): readonly Repository[] {
    return this.#page.all(upstream, last, limit).map((row) => row.name as Repository);
  }
}
