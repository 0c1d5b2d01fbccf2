// Blocked digests in the index (BlockStore).
import { type Digest, parseDigest } from "../../oci/digest.ts";
import type { BlockCommand, BlockStore } from "../../ports/block/blocks.ts";
import { type Database, digestKey, digestOfKey, type Statement } from "./database.ts";

export class SqliteBlocks implements BlockStore {
  readonly #database: Database;
  readonly #all: Statement;
  readonly #put: Statement;
  readonly #remove: Statement;

  constructor(database: Database) {
    this.#database = database;
    this.#all = database.prepare(
      "SELECT digest, blocked, reason, commanded_at, node, parts FROM blocks ORDER BY commanded_at, digest",
    );
    this.#put = database.prepare(
      `INSERT INTO blocks (digest, blocked, reason, commanded_at, node, parts) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET blocked = excluded.blocked, reason = excluded.reason,
         commanded_at = excluded.commanded_at, node = excluded.node, parts = excluded.parts`,
    );
    this.#remove = database.prepare("DELETE FROM blocks WHERE digest = ?");
  }

  all(): readonly BlockCommand[] {
    return this.#all.all().map((row) => ({
      digest: digestOfKey(row.digest),
      blocked: row.blocked === 1,
      reason: String(row.reason),
      at: Number(row.commanded_at),
      node: String(row.node),
      parts: String(row.parts)
        .split("\n")
        .flatMap((part) => parseDigest(part) ?? []),
    }));
  }

  put(commands: readonly BlockCommand[]): void {
    this.#database.transaction(() => {
      for (const { digest, blocked, reason, at, node, parts } of commands)
        this.#put.run(
          digestKey(digest),
          blocked ? 1 : 0,
          reason,
          Math.round(at),
          node,
          parts.map((part) => `${part}\n`).join(""),
        );
    });
  }

  remove(digests: readonly Digest[]): void {
    this.#database.transaction(() => {
      for (const digest of digests) this.#remove.run(digestKey(digest));
    });
  }
}
