// Purges in the index (PurgeStore), as nodes write them to each other, but for the upstream, which has its name here.
import { keptIds, type Purge, type PurgeStore, readPurge, writePurge } from "../../ports/purge/purges.ts";
import type { Database, Row, Statement } from "./database.ts";

const itself = (upstream: string): string => upstream;

export class SqlitePurges implements PurgeStore {
  readonly #database: Database;
  readonly #ids: Statement;
  readonly #get: Statement;
  readonly #put: Statement;
  readonly #done: Statement;
  readonly #undone: Statement;
  readonly #prune: Statement;

  constructor(database: Database) {
    this.#database = database;
    this.#ids = database.prepare("SELECT id FROM purges ORDER BY id");
    this.#get = database.prepare("SELECT purge FROM purges WHERE id = ?");
    this.#put = database.prepare(
      "INSERT INTO purges (id, purge, done) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.#done = database.prepare("UPDATE purges SET done = 1 WHERE id = ?");
    this.#undone = database.prepare("SELECT purge FROM purges WHERE done = 0 ORDER BY id");
    this.#prune = database.prepare("DELETE FROM purges WHERE id = ?");
  }

  ids(now: number): readonly string[] {
    const all = this.#ids.all().map(({ id }) => String(id));
    const kept = keptIds(all, now);
    if (kept.length < all.length)
      this.#database.transaction(() => {
        const keeps = new Set(kept);
        for (const id of all) if (!keeps.has(id)) this.#prune.run(id);
      });
    return kept;
  }

  get(id: string): Purge | undefined {
    const row = this.#get.get(id);
    return row && purgeOf(row);
  }

  put(purge: Purge, isDone: boolean): void {
    const text = writePurge(purge, itself);
    if (text !== undefined) this.#put.run(purge.id, text, isDone ? 1 : 0);
  }

  done(id: string): void {
    this.#done.run(id);
  }

  undone(): readonly Purge[] {
    return this.#undone.all().flatMap((row) => purgeOf(row) ?? []);
  }
}

function purgeOf({ purge }: Row): Purge | undefined {
  return readPurge(String(purge), itself);
}
