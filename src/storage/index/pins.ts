// Pinned images in the index (PinStore). What is held for them is marked in the rows of blobs by triggers, so that eviction
// does not come across it (schema.ts).
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import {
  forgetUnpinned,
  type HeldImage,
  maxCommanded,
  type PinCommand,
  type PinnedName,
  type PinnedPart,
  type PinStore,
} from "../../ports/pins/pins.ts";
import { type Database, digestKey, digestOfKey, type Row } from "./database.ts";

const named = "upstream = ? AND repository = ? AND reference = ?";

export class SqlitePins implements PinStore {
  readonly #database: Database;
  readonly #statements: ReturnType<typeof prepareAll>;

  constructor(database: Database) {
    this.#database = database;
    this.#statements = prepareAll(database);
  }

  isHeld(digest: Digest): boolean {
    return this.#statements.isHeld.get(digestKey(digest)) !== undefined;
  }

  isPinned(name: PinnedName): boolean {
    return this.#statements.image.get(...keyOf(name)) !== undefined;
  }

  pinsOf(digest: Digest, limit: number): readonly PinnedName[] {
    return this.#statements.pinsOf.all(digestKey(digest), limit).map(nameOf);
  }

  commands(): readonly PinCommand[] {
    return this.#statements.commands.all().map((row) => ({
      ...nameOf(row),
      pinned: row.pinned === 1,
      at: Number(row.commanded_at),
    }));
  }

  command(commands: readonly PinCommand[], now: number): number {
    return this.#database.transaction(() => {
      this.#statements.forget.run(now - forgetUnpinned);
      let taken = 0;
      for (const { pinned, at, ...name } of commands) {
        if (!pinned && at <= now - forgetUnpinned) continue;
        const isPinned = this.#statements.isCommanded.get(...keyOf(name)) !== undefined;
        if (pinned && !isPinned && Number(this.#statements.count.get()?.count) >= maxCommanded) continue;
        taken += this.#statements.command.run(...keyOf(name), pinned ? 1 : 0, Math.round(at));
      }
      this.#statements.forgetMore.run();
      return taken;
    });
  }

  held(): readonly HeldImage[] {
    return this.#statements.images.all().map((row) => ({
      ...nameOf(row),
      digest: row.digest === null ? undefined : digestOfKey(row.digest),
    }));
  }

  hold(image: PinnedName, parts: readonly PinnedPart[], digest?: Digest): void {
    this.#database.transaction(() => {
      this.#statements.addImage.run(...keyOf(image), digest === undefined ? null : digestKey(digest));
      const id = Number(this.#statements.image.get(...keyOf(image))?.id);
      const before = new Map(this.#partsOf(id).map((part) => [part.digest, part.size]));
      for (const part of parts) {
        if (before.get(part.digest) !== part.size)
          this.#statements.addPart.run(digestKey(part.digest), id, part.size);
        before.delete(part.digest);
      }
      for (const gone of before.keys()) this.#statements.removePart.run(digestKey(gone), id);
    });
  }

  release(image: PinnedName): void {
    this.#database.transaction(() => {
      const row = this.#statements.image.get(...keyOf(image));
      if (row === undefined) return;
      const id = Number(row.id);
      for (const { digest } of this.#partsOf(id)) this.#statements.removePart.run(digestKey(digest), id);
      this.#statements.removeImage.run(id);
    });
  }

  partsOf(image: PinnedName): readonly PinnedPart[] {
    const row = this.#statements.image.get(...keyOf(image));
    return row === undefined ? [] : this.#partsOf(Number(row.id));
  }

  heldBytes(): number {
    return Number(this.#statements.bytes.get()?.bytes);
  }

  #partsOf(id: number): PinnedPart[] {
    return this.#statements.parts
      .all(id)
      .map(({ digest, size }) => ({ digest: digestOfKey(digest), size: Number(size) }));
  }
}

function keyOf({ upstream, repository, reference }: PinnedName): [string, string, string] {
  return [upstream, repository, reference];
}

function nameOf(row: Row): PinnedName {
  return {
    upstream: String(row.upstream),
    repository: row.repository as Repository,
    reference: String(row.reference),
  };
}

function prepareAll(database: Database) {
  return {
    isHeld: database.prepare("SELECT 1 FROM pinned_parts WHERE digest = ? LIMIT 1"),
    image: database.prepare(`SELECT id FROM pinned_images WHERE ${named}`),
    images: database.prepare("SELECT upstream, repository, reference, digest FROM pinned_images ORDER BY id"),
    addImage: database.prepare(
      `INSERT INTO pinned_images (upstream, repository, reference, digest) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET digest = excluded.digest
       WHERE excluded.digest IS NOT NULL AND excluded.digest IS NOT digest`,
    ),
    removeImage: database.prepare("DELETE FROM pinned_images WHERE id = ?"),
    pinsOf: database.prepare(
      `SELECT upstream, repository, reference FROM pinned_parts JOIN pinned_images ON id = image
       WHERE pinned_parts.digest = ? LIMIT ?`,
    ),
    parts: database.prepare("SELECT digest, size FROM pinned_parts WHERE image = ?"),
    addPart: database.prepare(
      `INSERT INTO pinned_parts (digest, image, size) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET size = excluded.size`,
    ),
    removePart: database.prepare("DELETE FROM pinned_parts WHERE digest = ? AND image = ?"),
    bytes: database.prepare(
      "SELECT ifnull(sum(size), 0) AS bytes FROM (SELECT max(size) AS size FROM pinned_parts GROUP BY digest)",
    ),
    commands: database.prepare(
      "SELECT upstream, repository, reference, pinned, commanded_at FROM pins ORDER BY commanded_at",
    ),
    isCommanded: database.prepare(`SELECT 1 FROM pins WHERE ${named} AND pinned = 1`),
    count: database.prepare("SELECT count(*) AS count FROM pins WHERE pinned = 1"),
    command: database.prepare(
      `INSERT INTO pins (upstream, repository, reference, pinned, commanded_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET pinned = excluded.pinned, commanded_at = excluded.commanded_at
       WHERE excluded.commanded_at > commanded_at`,
    ),
    forgetMore: database.prepare(
      `DELETE FROM pins WHERE pinned = 0 AND (upstream, repository, reference) IN (
         SELECT upstream, repository, reference FROM pins WHERE pinned = 0
         ORDER BY commanded_at DESC LIMIT -1 OFFSET ${maxCommanded})`,
    ),
    forget: database.prepare("DELETE FROM pins WHERE pinned = 0 AND commanded_at <= ?"),
  };
}
