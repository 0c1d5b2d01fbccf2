// What tags have named (TagHistory), in the index. It cannot be made again from the store: after the loss of the index it has what
// the index's last copy had.
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import {
  maxStaysOfTag,
  type StayEnd,
  type TagHistory,
  type TagMove,
  type TagStay,
  type TagWord,
} from "../../ports/history/tag-history.ts";
import type { Scope } from "../../ports/scope.ts";
import { type Database, digestKey, digestOfKey, type Row, type Statement } from "./database.ts";
import { type Repositories, repositoryId } from "./repositories.ts";

/** Stays of all tags: some 60 MB of the index. */
const maxStays = 500_000;
/** Rows removed in one write, so that nothing waits long for it. */
const prunedAtOnce = 1_000;
/** Milliseconds within which the same word again is not written down once more. */
const sameWord = 60_000;

interface OpenStay {
  readonly id: number;
  readonly digest: Digest;
  readonly firstSeen: number;
  readonly lastSeen: number;
}

export class SqliteTagHistory implements TagHistory {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #maxStays: number;
  readonly #open: Statement;
  readonly #begin: Statement;
  readonly #end: Statement;
  readonly #of: Statement;
  readonly #trim: Statement;
  readonly #moves: Statement;
  readonly #again: Statement;
  readonly #countAll: Statement;
  readonly #dropOld: Statement;
  readonly #dropSingle: Statement;
  readonly #dropFirst: Statement;
  /** Stays of all tags; undefined until one is added: a start reads no rows. */
  #count: number | undefined;

  /** `max`: stays of all tags; another number only in tests. */
  constructor(database: Database, repositories: Repositories, max = maxStays) {
    this.#database = database;
    this.#repositories = repositories;
    this.#maxStays = max;
    this.#open = database.prepare(
      `SELECT id, digest, first_seen, last_seen FROM tag_history WHERE repository = ${repositoryId} AND tag = ? AND ended_at IS NULL
       ORDER BY id DESC LIMIT 1`,
    );
    this.#begin = database.prepare(
      `INSERT INTO tag_history (repository, tag, digest, first_seen, seen_by, follows) VALUES (?1, ?2, ?3, ?4, ?5,
         EXISTS (SELECT 1 FROM tag_history WHERE repository = ?1 AND tag = ?2))`,
    );
    this.#again = database.prepare("UPDATE tag_history SET last_seen = ? WHERE id = ?");
    this.#end = database.prepare("UPDATE tag_history SET ended_at = ?, ended = ? WHERE id = ?");
    this.#of = database.prepare(
      `SELECT digest, first_seen, seen_by, last_seen, ended_at, ended FROM tag_history
       WHERE repository = ${repositoryId} AND tag = ? ORDER BY id`,
    );
    this.#trim = database.prepare(
      `DELETE FROM tag_history WHERE id IN (
         SELECT id FROM tag_history WHERE repository = ? AND tag = ? ORDER BY id DESC LIMIT -1 OFFSET ${maxStaysOfTag})`,
    );
    // The stay that follows is of the digest that it moved to.
    this.#moves = database.prepare(
      `SELECT upstream, name, ended.tag, ended.digest, ended.ended_at, next.digest AS next, next.seen_by
       FROM tag_history AS ended
       JOIN tag_history AS next ON next.id = (
         SELECT min(id) FROM tag_history
         WHERE repository = ended.repository AND tag = ended.tag AND id > ended.id)
       JOIN repositories ON repositories.id = ended.repository
       WHERE ended.ended_at >= ? AND ended.ended = 'moved' ORDER BY ended.ended_at DESC LIMIT ?`,
    );
    this.#dropOld = database.prepare(
      `DELETE FROM tag_history WHERE id IN (
         SELECT id FROM tag_history WHERE ended_at < ? ORDER BY ended_at LIMIT ${prunedAtOnce})`,
    );
    this.#dropSingle = database.prepare(
      `DELETE FROM tag_history WHERE id IN (
         SELECT id FROM tag_history WHERE ended_at IS NULL AND follows = 0 ORDER BY id LIMIT ?)`,
    );
    this.#dropFirst = database.prepare(
      "DELETE FROM tag_history WHERE id IN (SELECT id FROM tag_history ORDER BY id LIMIT ?)",
    );
    this.#countAll = database.prepare("SELECT count(*) AS stays FROM tag_history");
  }

  async named(
    scope: Scope,
    tag: Tag,
    word: TagWord,
    known?: Omit<TagWord, "by">,
  ): Promise<Digest | undefined> {
    const seen = this.#seen(scope, tag);
    if (known === undefined && seen?.digest === word.digest && word.at - seen.lastSeen < sameWord)
      return undefined;
    return await this.#change(scope, tag, known, (open) => {
      if (open?.digest !== word.digest) {
        if (open !== undefined) this.#end.run(Math.round(word.at), "moved", open.id);
        this.#put(scope, tag, word);
        return open?.digest;
      }
      this.#again.run(Math.round(word.at), open.id);
      return undefined;
    });
  }

  async gone(scope: Scope, tag: Tag, at: number, known?: Omit<TagWord, "by">): Promise<void> {
    if (known === undefined && this.#seen(scope, tag) === undefined) return;
    await this.#change(scope, tag, known, (open) => {
      if (open !== undefined) this.#end.run(Math.round(at), "deleted", open.id);
    });
  }

  /** The stay that has not ended, as it was seen here. */
  #seen(scope: Scope, tag: Tag): OpenStay | undefined {
    const row = this.#open.get(scope.upstream, scope.repository, tag);
    if (row === undefined) return undefined;
    const firstSeen = Number(row.first_seen);
    return {
      id: Number(row.id),
      digest: digestOfKey(row.digest),
      firstSeen,
      lastSeen: Number(row.last_seen ?? firstSeen),
    };
  }

  /** In one write; `change` gets the stay that has not ended, which is that of the known record where nothing newer was seen. */
  async #change<Result>(
    scope: Scope,
    tag: Tag,
    known: Omit<TagWord, "by"> | undefined,
    change: (open: OpenStay | undefined) => Result,
  ): Promise<Result> {
    if (this.#database.pause !== undefined) await this.#database.pause;
    const count = this.#count;
    try {
      return this.#database.transaction(() => {
        const seen = this.#seen(scope, tag);
        if (known === undefined || known.digest === seen?.digest) return change(seen);
        if (seen !== undefined && known.at <= seen.lastSeen) return change(seen);
        if (seen !== undefined) this.#end.run(Math.round(known.at), "moved", seen.id);
        this.#put(scope, tag, { ...known, by: undefined });
        return change(this.#seen(scope, tag));
      });
    } catch (error) {
      this.#count = count;
      throw error;
    }
  }

  /**
   * Beyond the bound those go first that were never followed by another: the tag's record, if it has one, says as much. Then the
   * oldest. Who pushes many tags does not push out what has moved.
   */
  #put(scope: Scope, tag: Tag, { digest, at, by }: TagWord): void {
    const repository = this.#repositories.id(scope);
    let count = this.#count ?? Number(this.#countAll.get()?.stays);
    if (count >= this.#maxStays) {
      const most = Math.min(prunedAtOnce, Math.ceil(this.#maxStays / 10));
      count -= this.#dropSingle.run(most) || this.#dropFirst.run(most);
    }
    count += this.#begin.run(repository, tag, digestKey(digest), Math.round(at), by ?? null);
    this.#count = count - this.#trim.run(repository, tag);
  }

  of(scope: Scope, tag: Tag): readonly TagStay[] {
    return this.#of.all(scope.upstream, scope.repository, tag).map(stayOf);
  }

  movedSince(since: number, limit: number): readonly TagMove[] {
    return this.#moves.all(Math.round(since), limit).map(moveOf);
  }

  prune(before: number): void {
    const dropped = this.#dropOld.run(Math.round(before));
    if (this.#count !== undefined) this.#count -= dropped;
  }
}

function stayOf({ digest, first_seen, seen_by, last_seen, ended_at, ended }: Row): TagStay {
  return {
    digest: digestOfKey(digest),
    firstSeen: Number(first_seen),
    by: textOf(seen_by),
    ...(last_seen === null ? {} : { lastSeen: Number(last_seen) }),
    end: ended_at === null ? undefined : { at: Number(ended_at), why: ended as StayEnd },
  };
}

function moveOf({ upstream, name, tag, digest, ended_at, next, seen_by }: Row): TagMove {
  return {
    upstream: String(upstream),
    repository: String(name) as Scope["repository"],
    tag: String(tag) as Tag,
    from: digestOfKey(digest),
    to: digestOfKey(next),
    at: Number(ended_at),
    by: textOf(seen_by),
  };
}

function textOf(value: Row[string] | undefined): string | undefined {
  return value === null || value === undefined ? undefined : String(value);
}
