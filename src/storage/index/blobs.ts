// The blobs of the store as rows of the index: size, media type of a manifest, last use, last check, and what manifests
// name.

import type { Digest, DigestAlgorithm } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import { type Clock, clockTolerance } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { BlobIndex, BlobKind, IndexedBlob, NamedPart } from "../../ports/records.ts";
import { type Database, digestKey, digestOfKey, type Row } from "./database.ts";
import { roleNumbers } from "./image-graph.ts";
import { PendingTouches, type Touch } from "./pending-touches.ts";
import type { Repositories } from "./repositories.ts";
import type { SqliteSuperseded } from "./superseded.ts";

export interface BlobRow {
  readonly digest: Digest;
  readonly size: number;
}

/** Digests added or removed since the watch began, by any caller. */
export interface ChangeWatch {
  readonly changed: ReadonlySet<Digest>;
  stop(): void;
}

/** SQLite's default. */
const pageSize = 4_096;
/** Bytes of an index that do not count in the size of the cache: of some ten thousand blobs, which a tiny cache may have had. */
const uncounted = 64 * 1024 * 1024;

/** Values of `blobs.kind`. */
const kinds = { manifest: 0, small: 1, large: 2 } as const;

/** Bytes of a digest column. */
const keyLengths = { sha256: 32, sha512: 64 } as const;

export class SqliteBlobs implements BlobIndex {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #clock: Clock;
  readonly #touches: PendingTouches;
  readonly #watches = new Set<Set<Digest>>();
  #childrenSet: ((manifest: Digest) => void) | undefined;
  readonly #statements: ReturnType<typeof prepareAll>;
  readonly #smallBlob: number;
  readonly #superseded: Pick<SqliteSuperseded, "restore">;
  #complete = true;

  /** `smallBlob`: the size, in bytes, below which a blob is a small one. */
  constructor(
    database: Database,
    repositories: Repositories,
    clock: Clock,
    notice: NoticeSink | undefined,
    smallBlob: number,
    superseded: Pick<SqliteSuperseded, "restore">,
  ) {
    this.#database = database;
    this.#superseded = superseded;
    this.#smallBlob = smallBlob;
    this.#clock = clock;
    this.#repositories = repositories;
    this.#statements = prepareAll(database);
    this.#touches = new PendingTouches(
      (touches) => this.#writeTouches(touches),
      () => database.pause !== undefined,
      notice,
    );
    this.#sortAnew();
  }

  /** With another border than the last time every blob gets its kind again, which takes seconds of a large index. */
  #sortAnew(): void {
    if (Number(this.#statements.border.get()?.small_blob) === this.#smallBlob) return;
    this.#database.transaction(() => {
      this.#statements.sort.runNamed({ border: this.#smallBlob });
      this.#statements.setBorder.run(this.#smallBlob);
    });
  }

  add(digest: Digest, size: number, mediaType: string | undefined, usedAt: number, checkedAt?: number): void {
    this.#touches.forget(digest);
    this.#notifyWatches(digest);
    const checked = checkedAt === undefined ? null : Math.round(checkedAt);
    this.#orIncomplete(() => {
      this.#statements.add.runNamed({
        digest: digestKey(digest),
        size,
        type: mediaType ?? null,
        used: Math.round(usedAt),
        checked,
        border: this.#smallBlob,
      });
    });
  }

  get(digest: Digest): IndexedBlob | undefined {
    const row = this.#statements.get.get(digestKey(digest));
    return (
      row && {
        size: Number(row.size),
        mediaType: row.media_type === null ? undefined : String(row.media_type),
        checkedAt: checkedAt(row),
      }
    );
  }

  checked(digest: Digest, at: number): void {
    this.#statements.checked.run(Math.round(at), digestKey(digest));
  }

  longestUnchecked(limit: number): readonly (BlobRow & { readonly checkedAt: number | undefined })[] {
    return this.#statements.unchecked
      .all(limit)
      .map((row) => ({ ...blobRow(row), checkedAt: checkedAt(row) }));
  }

  /** Blobs checked at `since` or later, in milliseconds since the epoch, count as never checked. */
  forgetChecksSince(since: number): void {
    this.#statements.forgetChecks.run(Math.floor(since));
  }

  statedSize(digest: Digest): number | undefined {
    const key = digestKey(digest);
    const row = this.#statements.childSize.get(key) ?? this.#statements.linkSize.get(key);
    return row && Number(row.size);
  }

  usedAt(digest: Digest): number | undefined {
    const row = this.#statements.usedAt.get(digestKey(digest));
    return row && (this.#touches.get(digest) ?? Number(row.used_at));
  }

  touch(digest: Digest, usedAt: number): void {
    this.#touches.add(digest, usedAt);
  }

  /** Its links end later (links.ts). */
  remove(digest: Digest): void {
    this.#touches.forget(digest);
    this.#notifyWatches(digest);
    const key = digestKey(digest);
    this.#orIncomplete(() =>
      this.#database.transaction(() => {
        this.#removeEdges(key);
        this.#statements.remove.run(key);
      }),
    );
  }

  async removeUnused(blobs: readonly { readonly digest: Digest; readonly usedAt: number }[]): Promise<void> {
    await this.#database.pause;
    this.#orIncomplete(() =>
      this.#database.transaction(() => {
        for (const { digest, usedAt } of blobs) this.#removeUnused(digest, usedAt);
      }),
    );
  }

  /**
   * Before the answer, the uses of these blobs that are still in memory are written, and whether one that counts as superseded is
   * used by another image that has come since then is looked at. A last use in the future comes from a wrong
   * clock, so the blob comes first: otherwise it would stay until the clock has caught up. What a large one is worth does not
   * depend on clocks.
   */
  leastWorth(
    kind: BlobKind,
    limit: number,
  ): readonly { readonly digest: Digest; readonly size: number; readonly usedAt: number }[] {
    const known = new Set<Digest>();
    for (;;) {
      const latest = kind === "large" ? Number.MAX_SAFE_INTEGER : this.#clock() + clockTolerance;
      const ahead = this.#statements.ahead.all(kinds[kind], latest, limit);
      const rest =
        limit > ahead.length ? this.#statements.least.all(kinds[kind], latest, limit - ahead.length) : [];
      const rows = [...ahead, ...rest];
      const found = rows.map((row) => ({ ...blobRow(row), usedAt: Number(row.used_at) }));
      const isTouched = this.#touches.write(found.map(({ digest }) => digest));
      const isRestored = kind === "large" && this.#restored(rows, known);
      if (!isTouched && !isRestored) return found;
    }
  }

  /** Whether some of these count in full again; `known`: those that do not. */
  #restored(rows: readonly Row[], known: Set<Digest>): boolean {
    let restored = false;
    for (const row of rows) {
      if (row.superseded !== 1) continue;
      const digest = digestOfKey(row.digest);
      if (known.has(digest)) continue;
      known.add(digest);
      restored = this.#superseded.restore(digest) || restored;
    }
    return restored;
  }

  isSuperseded(digest: Digest): boolean {
    return this.#statements.superseded.get(digestKey(digest)) !== undefined;
  }

  bytesByKind(): { readonly manifest: number; readonly small: number } {
    const row = this.#statements.totals.get();
    return { manifest: Number(row?.manifest_bytes), small: Number(row?.small_bytes) };
  }

  pinnedBytes(): number {
    return Number(this.#statements.totals.get()?.pinned_bytes);
  }

  totals(): { readonly bytes: number; readonly count: number } {
    const row = this.#statements.totals.get();
    return { bytes: Number(row?.bytes), count: Number(row?.count) };
  }

  manifestsNaming(digest: Digest): number {
    return Number(this.#statements.naming.get(digestKey(digest))?.count);
  }

  /** Children are only added, for a manifest never changes. Removing the manifest removes them. What is known is not written again. */
  setChildren(digest: Digest, children: readonly NamedPart[], subject?: Digest): void {
    const key = digestKey(digest);
    this.#database.transaction(() => {
      for (const { digest: child, size, role = "layer", platform } of children)
        this.#statements.addChild.run(
          key,
          digestKey(child),
          size ?? null,
          roleNumbers[role],
          platform ?? null,
        );
      if (subject !== undefined) this.#statements.setSubject.run(key, digestKey(subject));
    });
    this.#childrenSet?.(digest);
  }

  /** `set` is called when the children of a manifest have been written, before its row is. It must not throw. */
  onChildren(set: (manifest: Digest) => void): void {
    this.#childrenSet = set;
  }

  repositories(upstream: string, last: string | undefined, limit: number): readonly Repository[] {
    return this.#repositories.page(upstream, last ?? "", limit);
  }

  /** False once an `add` or `remove` has failed: the table then differs from the store. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Writes the last uses that are still in memory. */
  flush(): void {
    this.#touches.flush();
  }

  /** Begins to remember which digests change. Memory grows with them until `stop`. */
  watch(): ChangeWatch {
    const changed = new Set<Digest>();
    this.#watches.add(changed);
    return { changed, stop: () => this.#watches.delete(changed) };
  }

  /** At most `limit` blobs of a shard (layout.ts) in digest order, those after `after`. */
  listShard(
    algorithm: DigestAlgorithm,
    shard: string,
    after: Digest | undefined,
    limit: number,
  ): readonly BlobRow[] {
    const first = Buffer.from(shard, "hex");
    const beyond = Buffer.concat([first, Buffer.alloc(keyLengths.sha512, 0xff)]);
    const from = after === undefined ? first : digestKey(after);
    return this.#statements.shard.all(from, beyond, keyLengths[algorithm], limit).map(blobRow);
  }

  #writeTouches(touches: ReadonlyMap<Digest, Touch>): void {
    this.#database.transaction(() => {
      for (const [digest, { usedAt, uses }] of touches)
        this.#statements.touch.runNamed({ used: Math.round(usedAt), uses, digest: digestKey(digest) });
    });
  }

  #removeUnused(digest: Digest, usedAt: number): void {
    const key = digestKey(digest);
    this.#statements.growOld.run(key, usedAt);
    if (this.#statements.removeUnused.run(key, usedAt) === 0) return;
    this.#touches.forget(digest);
    this.#notifyWatches(digest);
    this.#removeEdges(key);
  }

  #removeEdges(key: Buffer): void {
    this.#statements.removeChildren.run(key);
    this.#statements.removeSubject.run(key);
  }

  /** Bytes of the index on disk beyond its first 64 MiB, with its copy: they count in the size of the cache. */
  ownBytes(): number {
    const pages = (name: "page_count" | "freelist_count"): number =>
      Number(this.#statements[name].get()?.[name]);
    const used = (pages("page_count") - pages("freelist_count")) * pageSize;
    return Math.max(0, 2 * used - uncounted);
  }

  #orIncomplete(change: () => void): void {
    try {
      change();
    } catch (error) {
      this.#complete = false;
      throw error;
    }
  }

  #notifyWatches(digest: Digest): void {
    for (const watch of this.#watches) watch.add(digest);
  }
}

function blobRow(row: Row): BlobRow {
  return { digest: digestOfKey(row.digest), size: Number(row.size) };
}

function checkedAt(row: Row): number | undefined {
  return row.checked_at === null ? undefined : Number(row.checked_at);
}

/** The kind of a blob of this media type and size, in SQL; `$border` is the size below which it is small. */
function kindOf(type: string, size: string): string {
  return `CASE WHEN ${type} IS NOT NULL THEN ${kinds.manifest} WHEN ${size} < $border THEN ${kinds.small} ELSE ${kinds.large} END`;
}

function prepareAll(database: Database) {
  return {
    add: database.prepare(
      `INSERT INTO blobs (digest, size, media_type, used_at, checked_at, kind, worth, pinned)
       SELECT $digest, $size, $type, $used, $checked, kind, iif(kind = ${kinds.large}, age + 1, 0),
           EXISTS (SELECT 1 FROM pinned_parts WHERE digest = $digest)
         FROM (SELECT age, ${kindOf("$type", "$size")} AS kind FROM state) WHERE true
       ON CONFLICT DO UPDATE SET size = excluded.size, used_at = excluded.used_at,
         media_type = coalesce(excluded.media_type, media_type),
         checked_at = coalesce(excluded.checked_at, checked_at),
         kind = iif(media_type IS NULL, excluded.kind, ${kinds.manifest}),
         worth = iif(media_type IS NULL AND excluded.kind = ${kinds.large}, max(worth, excluded.worth), 0)`,
    ),
    border: database.prepare("SELECT small_blob FROM state"),
    setBorder: database.prepare("UPDATE state SET small_blob = ?"),
    sort: database.prepare(
      `UPDATE blobs SET kind = ${kindOf("media_type", "size")},
         worth = iif(${kindOf("media_type", "size")} = ${kinds.large}, max(worth, (SELECT age FROM state) + 1), 0)
       WHERE kind <> ${kindOf("media_type", "size")}`,
    ),
    superseded: database.prepare("SELECT 1 FROM blobs WHERE digest = ? AND superseded = 1 AND kind = 2"),
    get: database.prepare("SELECT size, media_type, checked_at FROM blobs WHERE digest = ?"),
    checked: database.prepare("UPDATE blobs SET checked_at = ? WHERE digest = ?"),
    unchecked: database.prepare("SELECT digest, size, checked_at FROM blobs ORDER BY checked_at LIMIT ?"),
    forgetChecks: database.prepare("UPDATE blobs SET checked_at = NULL WHERE checked_at >= ?"),
    childSize: database.prepare("SELECT size FROM children WHERE child = ? AND size IS NOT NULL LIMIT 1"),
    linkSize: database.prepare("SELECT size FROM links WHERE digest = ? AND size IS NOT NULL LIMIT 1"),
    usedAt: database.prepare("SELECT used_at FROM blobs WHERE digest = ?"),
    touch: database.prepare(
      `UPDATE blobs SET used_at = $used, uses = uses + $uses,
         worth = iif(kind = ${kinds.large}, (SELECT age FROM state) + iif(superseded, 0, uses + $uses), 0) WHERE digest = $digest`,
    ),
    growOld: database.prepare(
      `UPDATE state SET age = max(age, ifnull(
         (SELECT worth FROM blobs WHERE digest = ? AND used_at = ? AND kind = ${kinds.large}), 0))`,
    ),
    remove: database.prepare("DELETE FROM blobs WHERE digest = ?"),
    removeUnused: database.prepare("DELETE FROM blobs WHERE digest = ? AND used_at = ?"),
    page_count: database.prepare("PRAGMA page_count"),
    freelist_count: database.prepare("PRAGMA freelist_count"),
    removeChildren: database.prepare("DELETE FROM children WHERE manifest = ?"),
    addChild: database.prepare(
      `INSERT INTO children (manifest, child, size, role, platform) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET size = ifnull(size, excluded.size), role = excluded.role,
         platform = excluded.platform
       WHERE role <> excluded.role OR platform IS NOT excluded.platform
         OR (size IS NULL AND excluded.size IS NOT NULL)`,
    ),
    removeSubject: database.prepare("DELETE FROM subjects WHERE manifest = ?"),
    setSubject: database.prepare(
      `INSERT INTO subjects (manifest, subject) VALUES (?, ?)
       ON CONFLICT DO UPDATE SET subject = excluded.subject WHERE subject <> excluded.subject`,
    ),
    naming: database.prepare("SELECT count(*) AS count FROM children WHERE child = ?"),
    ahead: database.prepare(
      `SELECT digest, size, used_at, superseded FROM blobs WHERE pinned = 0 AND kind = ? AND worth = 0 AND used_at > ?
       ORDER BY used_at LIMIT ?`,
    ),
    least: database.prepare(
      `SELECT digest, size, used_at, superseded FROM blobs WHERE pinned = 0 AND kind = ? AND used_at <= ?
       ORDER BY worth, used_at LIMIT ?`,
    ),
    totals: database.prepare("SELECT bytes, count, manifest_bytes, small_bytes, pinned_bytes FROM state"),
    shard: database.prepare(
      `SELECT digest, size FROM blobs WHERE digest > ? AND digest <= ? AND length(digest) = ?
       ORDER BY digest LIMIT ?`,
    ),
  };
}
