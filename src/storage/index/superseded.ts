// Images whose tags have moved on (schema.ts), and the layers that nothing but such images uses: how often those were used
// counts no more for eviction. The last digests of a tag, to which people roll back, are not among them. It decides nothing but
// the order in which large blobs go.
import type { Digest } from "../../oci/digest.ts";
import { type Database, digestKey } from "./database.ts";

/** Manifests that are looked at in one turn of the event loop, and parts of all of them. */
const perTurn = 10;
const maxParts = 500;
/**
 * Manifests that name a part, and those that name one of them, which are looked at. A part that as many name is one that much
 * is made of: it is in use.
 */
const maxParents = 64;

export class SqliteSuperseded {
  readonly #database: Database;
  readonly #statements: ReturnType<typeof prepareAll>;

  constructor(database: Database) {
    this.#database = database;
    this.#statements = prepareAll(database);
  }

  /** Looks at some of the manifests that wait for it, in one write. Throws StoreError. */
  sweep(): void {
    const waiting = this.#statements.waiting.all(perTurn);
    if (waiting.length === 0) return;
    this.#database.transaction(() => {
      let parts = 0;
      for (const row of waiting) {
        if (parts > maxParts) break;
        const manifest = row.digest as Uint8Array;
        this.#statements.looked.run(manifest);
        parts += this.#look(manifest);
      }
    });
  }

  /** Whether something that is not superseded uses it after all; then it counts in full again. Throws StoreError. */
  restore(digest: Digest): boolean {
    const key = digestKey(digest);
    return this.#isUsed(key) && this.#statements.restore.run(key) > 0;
  }

  /** Gives the number of parts looked at. */
  #look(manifest: Uint8Array): number {
    const row = this.#statements.manifest.get(manifest);
    if (row === undefined) return 0;
    const isSuperseded = row.is_named === 0 && !this.#isUsed(manifest);
    if (isSuperseded === (row.superseded === 1)) return 0;
    this.#statements.mark.run(isSuperseded ? 1 : 0, manifest);
    const parts = this.#statements.parts.all(manifest, maxParts);
    for (const part of parts) {
      const key = part.digest as Uint8Array;
      if (part.kind === 0) this.#statements.wait.run(key);
      else if (!isSuperseded) this.#statements.restore.run(key);
      else if (!this.#isUsed(key)) this.#statements.discount.run(key);
    }
    return parts.length;
  }

  /** Whether a manifest here that is not superseded names it, or one that names a manifest which does. */
  #isUsed(key: Uint8Array): boolean {
    const row = this.#statements.users.get(key);
    return row !== undefined && (Number(row.count) === maxParents || Number(row.used) > 0);
  }
}

function prepareAll(database: Database) {
  return {
    waiting: database.prepare("SELECT digest FROM superseding LIMIT ?"),
    wait: database.prepare("INSERT INTO superseding VALUES (?) ON CONFLICT DO NOTHING"),
    looked: database.prepare("DELETE FROM superseding WHERE digest = ?"),
    manifest: database.prepare(
      `SELECT superseded, EXISTS (SELECT 1 FROM tags WHERE tags.digest = blobs.digest)
         OR EXISTS (SELECT 1 FROM former_digests WHERE former_digests.digest = blobs.digest) AS is_named
       FROM blobs WHERE digest = ? AND kind = 0`,
    ),
    parts: database.prepare(
      `SELECT digest, kind FROM children JOIN blobs ON digest = child
       WHERE manifest = ? AND kind IN (0, 2) LIMIT ?`,
    ),
    users: database.prepare(
      `SELECT count(*) AS count, sum(superseded = 0 OR EXISTS (
           SELECT 1 FROM (SELECT manifest FROM children WHERE child = digest LIMIT ${maxParents}) AS above
             JOIN blobs AS parents ON parents.digest = above.manifest WHERE parents.superseded = 0)) AS used
         FROM (SELECT manifest FROM children WHERE child = ? LIMIT ${maxParents}) JOIN blobs ON digest = manifest`,
    ),
    mark: database.prepare("UPDATE blobs SET superseded = ? WHERE digest = ?"),
    discount: database.prepare(
      `UPDATE blobs SET superseded = 1, worth = max(0, worth - uses)
       WHERE digest = ? AND superseded = 0 AND kind = 2`,
    ),
    restore: database.prepare(
      "UPDATE blobs SET superseded = 0, worth = worth + uses WHERE digest = ? AND superseded = 1 AND kind = 2",
    ),
  };
}
