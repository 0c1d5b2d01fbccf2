// Repositories as small integers: tags, links and answers refer to the number instead of the name.
import type { Repository } from "../../oci/name.ts";
import type { Scope } from "../../ports/scope.ts";
import type { Database, Statement } from "./database.ts";

/** SQL for the number of a repository, with the parameters upstream and name; NULL when it is unknown. */
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
    // `present > 0` lets SQLite use the partial index, which is in the order of the page.
    this.#page = database.prepare(
      "SELECT name FROM repositories WHERE upstream = ? AND name > ? AND present > 0 ORDER BY name LIMIT ?",
    );
  }

  /** The number of a repository, assigned on first use and never reused. */
  id(scope: Scope): number {
    const row =
      this.#select.get(scope.upstream, scope.repository) ??
      this.#insert.get(scope.upstream, scope.repository);
    return Number(row?.id);
  }

  /** The number of a repository; undefined when it has none yet. */
  known(scope: Scope): number | undefined {
    const row = this.#select.get(scope.upstream, scope.repository);
    return row && Number(row.id);
  }

  /** The repository with that number. */
  named(id: number): Scope | undefined {
    const row = this.#named.get(id);
    return row && { upstream: String(row.upstream), repository: row.name as Repository };
  }

  /** See BlobIndex.repositories. */
  page(upstream: string, last: string, limit: number): readonly Repository[] {
    return this.#page.all(upstream, last, limit).map((row) => row.name as Repository);
  }
}
