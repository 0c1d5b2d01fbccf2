// Kept answers in the index (AnswerStore).

import type { Digest } from "../../oci/digest.ts";
import type { AnswerStore, StoredAnswer } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { type Database, digestKey, type Statement } from "./database.ts";
import { type Repositories, repositoryId } from "./repositories.ts";

/** Bytes of all answers. */
const maxBytes = 64 * 1024 * 1024;
/** Answers about one manifest. */
const maxPerSubject = 16;
/** UTF-16 units of a key; an answer with a longer one is not kept. */
const maxKeyLength = 1024;
/** Answers deleted at once to make room, and how often for one `put`, whose time is bounded by them. */
const deletedAtOnce = 10;
const maxDeletions = 100;

export class SqliteAnswers implements AnswerStore {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #maxBytes: number;
  readonly #get: Statement;
  readonly #known: Statement;
  readonly #put: Statement;
  readonly #delete: Statement;
  readonly #deleteAbsent: Statement;
  readonly #clear: Statement;
  readonly #age: Statement;
  readonly #deleteBeyond: Statement;
  readonly #bytes: Statement;
  readonly #deleteOldest: Statement;

  /** `max`: bytes of all answers; another number only in tests. */
  constructor(database: Database, repositories: Repositories, max = maxBytes) {
    this.#database = database;
    this.#repositories = repositories;
    this.#maxBytes = max;
    this.#get = database.prepare(
      `SELECT content, answered_at FROM answers WHERE repository = ${repositoryId} AND key = ?`,
    );
    this.#known = database.prepare(
      `SELECT repository FROM links WHERE digest = ?1 AND EXISTS (SELECT 1 FROM blobs WHERE digest = ?1)
       AND repository = (SELECT id FROM repositories WHERE upstream = ?2 AND name = ?3)`,
    );
    this.#put = database.prepare(
      `INSERT INTO answers (repository, key, subject, content, answered_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET content = excluded.content, answered_at = excluded.answered_at`,
    );
    this.#delete = database.prepare(`DELETE FROM answers WHERE repository = ${repositoryId} AND key = ?`);
    this.#deleteAbsent = database.prepare(
      `DELETE FROM answers WHERE repository = ${repositoryId} AND content IS NULL`,
    );
    this.#clear = database.prepare(
      `DELETE FROM answers WHERE repository = ${repositoryId} AND answered_at <= ?`,
    );
    this.#age = database.prepare(
      `UPDATE answers SET answered_at = min(answered_at, ?) WHERE repository = ${repositoryId}`,
    );
    this.#deleteBeyond = database.prepare(
      `DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE subject = ? AND repository = ?
         ORDER BY answered_at DESC LIMIT -1 OFFSET ${maxPerSubject})`,
    );
    this.#bytes = database.prepare("SELECT answer_bytes FROM state");
    this.#deleteOldest = database.prepare(
      `DELETE FROM answers WHERE id IN (SELECT id FROM answers
         ORDER BY subject IS NOT NULL, answered_at LIMIT ${deletedAtOnce})`,
    );
  }

  get(scope: Scope, key: string): StoredAnswer | undefined {
    const row = this.#get.get(scope.upstream, scope.repository, key);
    if (row === undefined) return undefined;
    const { content, answered_at } = row;
    return {
      content: content instanceof Uint8Array ? Buffer.from(content) : undefined,
      at: Number(answered_at),
    };
  }

  put(scope: Scope, key: string, subject: Digest | undefined, { content, at }: StoredAnswer): void {
    const bytes = key.length + (content?.length ?? 0);
    if (key.length > maxKeyLength || bytes > this.#maxBytes / 4) return;
    this.#database.transaction(() => {
      const about = subject === undefined ? null : digestKey(subject);
      const id =
        about === null
          ? this.#repositories.id(scope)
          : this.#known.get(about, scope.upstream, scope.repository)?.repository;
      if (id === undefined || !this.#makeRoom(bytes)) return;
      this.#put.run(Number(id), key, about, content ?? null, Math.round(at));
      if (about !== null) this.#deleteBeyond.run(about, Number(id));
    });
  }

  #makeRoom(bytes: number): boolean {
    for (let deletions = 0; deletions <= maxDeletions; deletions++) {
      if (Number(this.#bytes.get()?.answer_bytes) + bytes <= this.#maxBytes) return true;
      if (this.#deleteOldest.run() === 0) return false;
    }
    return false;
  }

  delete(scope: Scope, key: string): void {
    this.#delete.run(scope.upstream, scope.repository, key);
  }

  expire(scope: Scope, before: number): void {
    this.#database.transaction(() => {
      this.#deleteAbsent.run(scope.upstream, scope.repository);
      this.#age.run(Math.round(before), scope.upstream, scope.repository);
    });
  }

  clear(scope: Scope, before: number): void {
    this.#clear.run(scope.upstream, scope.repository, Math.round(before));
  }
}
