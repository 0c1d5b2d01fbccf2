// The tables of the index, as an ordered list of migrations. A new file gets all of them, an older file those it lacks,
// so that there is one way to a schema.
import { DatabaseSync } from "node:sqlite";

/**
 * The first version. `state` has one row. Its `bytes` and `count` are the totals of `blobs`, so that neither a start
 * nor an eviction pass adds up all rows.
 *
 * `repositories.present`: how many of the repository's links name a blob that is here. Triggers keep it, so that a page
 * of the catalog reads one index and searches no links.
 *
 * The key of `links` begins with the digest: one tree answers whether a repository has it, which size was stated, and
 * which repositories a new blob makes present. When links end is in links.ts.
 */
const firstTables = `
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  bytes INTEGER NOT NULL,
  count INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (1, 0, 0);

CREATE TABLE repositories (
  id INTEGER PRIMARY KEY,
  upstream TEXT NOT NULL,
  name TEXT NOT NULL,
  present INTEGER NOT NULL DEFAULT 0,
  UNIQUE (upstream, name)
) STRICT;
CREATE INDEX repositories_present ON repositories (upstream, name) WHERE present > 0;

CREATE TABLE tags (
  repository INTEGER NOT NULL,
  tag TEXT NOT NULL,
  digest BLOB NOT NULL,
  media_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  checked_at INTEGER NOT NULL,
  PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE links (
  digest BLOB NOT NULL,
  repository INTEGER NOT NULL,
  size INTEGER,
  PRIMARY KEY (digest, repository)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
  digest BLOB PRIMARY KEY,
  size INTEGER NOT NULL,
  media_type TEXT,
  used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_used ON blobs (used_at, size);

CREATE TABLE children (
  manifest BLOB NOT NULL,
  child BLOB NOT NULL,
  PRIMARY KEY (manifest, child)
) STRICT, WITHOUT ROWID;
CREATE INDEX children_child ON children (child);

CREATE TRIGGER blob_added AFTER INSERT ON blobs BEGIN
  UPDATE state SET bytes = bytes + new.size, count = count + 1;
  UPDATE repositories SET present = present + 1
    WHERE id IN (SELECT repository FROM links WHERE digest = new.digest);
END;
CREATE TRIGGER blob_removed AFTER DELETE ON blobs BEGIN
  UPDATE state SET bytes = bytes - old.size, count = count - 1;
  UPDATE repositories SET present = present - 1
    WHERE id IN (SELECT repository FROM links WHERE digest = old.digest);
END;
CREATE TRIGGER blob_resized AFTER UPDATE OF size ON blobs WHEN old.size <> new.size BEGIN
  UPDATE state SET bytes = bytes + new.size - old.size;
END;
CREATE TRIGGER link_added AFTER INSERT ON links WHEN EXISTS (SELECT 1 FROM blobs WHERE digest = new.digest) BEGIN
  UPDATE repositories SET present = present + 1 WHERE id = new.repository;
END;
CREATE TRIGGER link_removed AFTER DELETE ON links WHEN EXISTS (SELECT 1 FROM blobs WHERE digest = old.digest) BEGIN
  UPDATE repositories SET present = present - 1 WHERE id = old.repository;
END;
`;

/**
 * Kept answers (AnswerStore). An answer about a manifest is deleted with it. `state.answer_bytes`, kept by triggers, is
 * the total of keys and contents.
 */
const answers = `
ALTER TABLE state ADD COLUMN answer_bytes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE answers (
  id INTEGER PRIMARY KEY,
  repository INTEGER NOT NULL,
  key TEXT NOT NULL,
  subject BLOB,
  content BLOB,
  answered_at INTEGER NOT NULL,
  UNIQUE (repository, key)
) STRICT;
CREATE INDEX answers_subject ON answers (subject) WHERE subject IS NOT NULL;
CREATE INDEX answers_order ON answers (subject IS NOT NULL, answered_at);

CREATE TRIGGER answer_added AFTER INSERT ON answers BEGIN
  UPDATE state SET answer_bytes = answer_bytes + length(new.key) + ifnull(length(new.content), 0);
END;
CREATE TRIGGER answer_changed AFTER UPDATE OF content ON answers BEGIN
  UPDATE state SET answer_bytes = answer_bytes + ifnull(length(new.content), 0) - ifnull(length(old.content), 0);
END;
CREATE TRIGGER answer_removed AFTER DELETE ON answers BEGIN
  UPDATE state SET answer_bytes = answer_bytes - length(old.key) - ifnull(length(old.content), 0);
END;
CREATE TRIGGER subject_removed AFTER DELETE ON blobs BEGIN
  DELETE FROM answers WHERE subject = old.digest;
END;
`;

/**
 * `blobs.checked_at`: when all of the stored bytes were last hashed. Null: never, as far as this index knows, so they
 * are not trusted. 0, in rows of older versions: long ago. `children.size`: as the manifest states it.
 */
const blobChecks = `
ALTER TABLE blobs ADD COLUMN checked_at INTEGER DEFAULT 0;
CREATE INDEX blobs_checked ON blobs (checked_at);
ALTER TABLE children ADD COLUMN size INTEGER;
`;

/**
 * `links.shown`: upstream has confirmed the digest in this repository, by sending it or by saying that it is there. 0:
 * only a manifest names it. Older links count as confirmed when only one upstream has the digest: its bytes must come
 * from there.
 */
const shownLinks = `
ALTER TABLE links ADD COLUMN shown INTEGER NOT NULL DEFAULT 0;
UPDATE links SET shown = 1 WHERE digest IN (
  SELECT digest FROM links JOIN repositories ON repositories.id = links.repository
  GROUP BY digest HAVING count(DISTINCT upstream) = 1
);
`;

/** Finds the tags of a repository that name a digest, which rules about tags need. */
const tagsByDigest = `
CREATE INDEX tags_digest ON tags (repository, digest);
`;

/**
 * `links.confirmed_at`: when upstream last confirmed the digest in the repository, or a manifest there named it, in
 * milliseconds since the epoch, to ten minutes. Older links get the time of the migration. `state.links`, kept by
 * triggers, is their number.
 */
const linkAges = `
ALTER TABLE links ADD COLUMN confirmed_at INTEGER NOT NULL DEFAULT 0;
UPDATE links SET confirmed_at = unixepoch() * 1000;
CREATE INDEX links_confirmed ON links (confirmed_at);

ALTER TABLE state ADD COLUMN links INTEGER NOT NULL DEFAULT 0;
UPDATE state SET links = (SELECT count(*) FROM links);
CREATE TRIGGER link_counted AFTER INSERT ON links BEGIN
  UPDATE state SET links = links + 1;
END;
CREATE TRIGGER link_uncounted AFTER DELETE ON links BEGIN
  UPDATE state SET links = links - 1;
END;
`;

/**
 * What eviction goes by (cache/eviction.ts). `blobs.kind`: 0 a manifest, 1 a blob smaller than `state.small_blob`, 2 any
 * other; `uses`: how often it was used; `worth`: of kind 2 `state.age` at its last use plus `uses`, else 0. `state.age`: the
 * worth of the last of kind 2 that was evicted. Triggers keep the bytes of kinds 0 and 1. Of a large index it takes seconds.
 */
const evictionOrder = `
ALTER TABLE blobs ADD COLUMN kind INTEGER NOT NULL DEFAULT 2;
ALTER TABLE blobs ADD COLUMN uses INTEGER NOT NULL DEFAULT 1;
ALTER TABLE blobs ADD COLUMN worth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN small_blob INTEGER NOT NULL DEFAULT 1000000;
ALTER TABLE state ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN manifest_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN small_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE blobs SET kind = CASE WHEN media_type IS NOT NULL THEN 0 WHEN size < 1000000 THEN 1 ELSE 2 END;
UPDATE blobs SET worth = 1 WHERE kind = 2;
UPDATE state SET
  manifest_bytes = (SELECT ifnull(sum(size), 0) FROM blobs WHERE kind = 0),
  small_bytes = (SELECT ifnull(sum(size), 0) FROM blobs WHERE kind = 1);
DROP INDEX blobs_used;
CREATE INDEX blobs_order ON blobs (kind, worth, used_at, size);

CREATE TRIGGER kind_added AFTER INSERT ON blobs WHEN new.kind < 2 BEGIN
  UPDATE state SET manifest_bytes = manifest_bytes + iif(new.kind = 0, new.size, 0),
    small_bytes = small_bytes + iif(new.kind = 1, new.size, 0);
END;
CREATE TRIGGER kind_removed AFTER DELETE ON blobs WHEN old.kind < 2 BEGIN
  UPDATE state SET manifest_bytes = manifest_bytes - iif(old.kind = 0, old.size, 0),
    small_bytes = small_bytes - iif(old.kind = 1, old.size, 0);
END;
CREATE TRIGGER kind_changed AFTER UPDATE OF kind, size ON blobs WHEN old.kind <> new.kind OR old.size <> new.size BEGIN
  UPDATE state SET
    manifest_bytes = manifest_bytes + iif(new.kind = 0, new.size, 0) - iif(old.kind = 0, old.size, 0),
    small_bytes = small_bytes + iif(new.kind = 1, new.size, 0) - iif(old.kind = 1, old.size, 0);
END;
`;

/**
 * The image graph (ports/records.ts). `children.role`: 0 a manifest, 1 a config, 2 a layer. `subjects`: of which manifest
 * one is a referrer; apart from `children`, because naming a subject is no use of it. `state.graph_read`: up to which digest
 * the manifests that were stored before were read again for it (stored-manifests.ts); null: all of them.
 */
const imageGraph = `
ALTER TABLE children ADD COLUMN role INTEGER NOT NULL DEFAULT 2;
ALTER TABLE children ADD COLUMN platform TEXT;
CREATE TABLE subjects (
  manifest BLOB PRIMARY KEY,
  subject BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX subjects_subject ON subjects (subject);
ALTER TABLE state ADD COLUMN graph_read BLOB DEFAULT x'';
UPDATE state SET graph_read = NULL WHERE count = 0;
DROP INDEX tags_digest;
CREATE INDEX tags_digest ON tags (digest, repository);
`;

/** What each team has had of each upstream in each month (savings.ts). Bytes; the price is that of 10^9 of them. */
const savings = `
CREATE TABLE savings (
  month TEXT NOT NULL,
  team TEXT NOT NULL,
  upstream TEXT NOT NULL,
  requests INTEGER NOT NULL,
  round_trips INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  fetched INTEGER NOT NULL,
  price REAL,
  PRIMARY KEY (month, team, upstream)
) STRICT, WITHOUT ROWID;
`;

/**
 * Pinned images (pins.ts). `pins`: what was last commanded. `pinned_images`: those of commands and of the configuration;
 * `digest`: the manifest that is held as a whole. `pinned_parts`: what is held, be it here or not. Triggers keep
 * `blobs.pinned`, whether eviction passes the blob over: it is not in `blobs_order`, and counts neither as a manifest nor as
 * a small blob of the state, but in its `pinned_bytes`. Manifests are in the order of their last use in an index of their
 * own. Of a large index it takes seconds.
 */
const pins = `
CREATE TABLE pins (
  upstream TEXT NOT NULL,
  repository TEXT NOT NULL,
  reference TEXT NOT NULL,
  pinned INTEGER NOT NULL,
  commanded_at INTEGER NOT NULL,
  PRIMARY KEY (upstream, repository, reference)
) STRICT, WITHOUT ROWID;
CREATE TABLE pinned_images (
  id INTEGER PRIMARY KEY,
  upstream TEXT NOT NULL,
  repository TEXT NOT NULL,
  reference TEXT NOT NULL,
  digest BLOB,
  UNIQUE (upstream, repository, reference)
) STRICT;
CREATE TABLE pinned_parts (
  digest BLOB NOT NULL,
  image INTEGER NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (digest, image)
) STRICT, WITHOUT ROWID;
CREATE INDEX pinned_parts_image ON pinned_parts (image);

ALTER TABLE blobs ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
DROP INDEX blobs_order;
CREATE INDEX blobs_order ON blobs (kind, worth, used_at, size) WHERE pinned = 0;
CREATE INDEX blobs_manifests ON blobs (used_at, size) WHERE kind = 0;

CREATE TRIGGER part_pinned AFTER INSERT ON pinned_parts BEGIN
  UPDATE blobs SET pinned = 1 WHERE digest = new.digest AND pinned = 0;
END;
CREATE TRIGGER part_unpinned AFTER DELETE ON pinned_parts
  WHEN NOT EXISTS (SELECT 1 FROM pinned_parts WHERE digest = old.digest) BEGIN
  UPDATE blobs SET pinned = 0 WHERE digest = old.digest;
END;

ALTER TABLE state ADD COLUMN pinned_bytes INTEGER NOT NULL DEFAULT 0;
DROP TRIGGER kind_added;
DROP TRIGGER kind_removed;
DROP TRIGGER kind_changed;
CREATE TRIGGER kind_added AFTER INSERT ON blobs WHEN new.kind < 2 OR new.pinned = 1 BEGIN
  UPDATE state SET manifest_bytes = manifest_bytes + iif(new.kind = 0 AND new.pinned = 0, new.size, 0),
    small_bytes = small_bytes + iif(new.kind = 1 AND new.pinned = 0, new.size, 0),
    pinned_bytes = pinned_bytes + iif(new.pinned = 1, new.size, 0);
END;
CREATE TRIGGER kind_removed AFTER DELETE ON blobs WHEN old.kind < 2 OR old.pinned = 1 BEGIN
  UPDATE state SET manifest_bytes = manifest_bytes - iif(old.kind = 0 AND old.pinned = 0, old.size, 0),
    small_bytes = small_bytes - iif(old.kind = 1 AND old.pinned = 0, old.size, 0),
    pinned_bytes = pinned_bytes - iif(old.pinned = 1, old.size, 0);
END;
CREATE TRIGGER kind_changed AFTER UPDATE OF kind, size, pinned ON blobs
  WHEN old.kind <> new.kind OR old.size <> new.size OR old.pinned <> new.pinned BEGIN
  UPDATE state SET
    manifest_bytes = manifest_bytes + iif(new.kind = 0 AND new.pinned = 0, new.size, 0)
      - iif(old.kind = 0 AND old.pinned = 0, old.size, 0),
    small_bytes = small_bytes + iif(new.kind = 1 AND new.pinned = 0, new.size, 0)
      - iif(old.kind = 1 AND old.pinned = 0, old.size, 0),
    pinned_bytes = pinned_bytes + iif(new.pinned = 1, new.size, 0) - iif(old.pinned = 1, old.size, 0);
END;
`;

/** Purges that nodes which were away are to hear of (purges.ts). `done`: all of it has been done here. */
const purges = `
CREATE TABLE purges (
  id TEXT PRIMARY KEY,
  purge TEXT NOT NULL,
  done INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** What operators have blocked, and what not any more (blocks.ts). `parts`: digests, each with a line break behind it. */
const blocks = `
CREATE TABLE blocks (
  digest BLOB PRIMARY KEY,
  blocked INTEGER NOT NULL,
  reason TEXT NOT NULL,
  commanded_at INTEGER NOT NULL,
  node TEXT NOT NULL,
  parts TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`;

/**
 * Superseded images (superseded.ts). `former_digests`: the last three digests that a tag named before its own, of manifests
 * that are here; `moved_at`: when it moved on, by upstream's word. `superseding`: manifests to be looked at, because a tag has
 * them no more among these, or has come back to them. `blobs.superseded`: of a manifest, that tags have moved on from it; of a
 * large blob, that nothing else uses it, so that its `uses` are not in its `worth`.
 */
const supersession = `
CREATE TABLE former_digests (
  repository INTEGER NOT NULL,
  tag TEXT NOT NULL,
  digest BLOB NOT NULL,
  moved_at INTEGER NOT NULL,
  PRIMARY KEY (repository, tag, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX former_digests_digest ON former_digests (digest);
CREATE TABLE superseding (
  digest BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
ALTER TABLE blobs ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER tag_moved AFTER UPDATE OF digest ON tags WHEN old.digest <> new.digest BEGIN
  DELETE FROM former_digests WHERE repository = new.repository AND tag = new.tag AND digest IN (old.digest, new.digest);
  INSERT INTO former_digests SELECT old.repository, old.tag, old.digest, new.checked_at
    WHERE EXISTS (SELECT 1 FROM blobs WHERE digest = old.digest);
  DELETE FROM former_digests WHERE repository = new.repository AND tag = new.tag AND digest IN (
    SELECT digest FROM former_digests WHERE repository = new.repository AND tag = new.tag
    ORDER BY moved_at DESC LIMIT -1 OFFSET 3);
  INSERT INTO superseding SELECT digest FROM blobs WHERE digest = new.digest AND superseded = 1
    AND NOT EXISTS (SELECT 1 FROM superseding WHERE digest = new.digest);
END;
CREATE TRIGGER tag_removed AFTER DELETE ON tags WHEN EXISTS (SELECT 1 FROM blobs WHERE digest = old.digest) BEGIN
  INSERT INTO former_digests VALUES (old.repository, old.tag, old.digest, old.checked_at);
  DELETE FROM former_digests WHERE repository = old.repository AND tag = old.tag AND digest IN (
    SELECT digest FROM former_digests WHERE repository = old.repository AND tag = old.tag
    ORDER BY moved_at DESC LIMIT -1 OFFSET 3);
END;
CREATE TRIGGER tag_added AFTER INSERT ON tags BEGIN
  DELETE FROM former_digests WHERE repository = new.repository AND tag = new.tag AND digest = new.digest;
  INSERT INTO superseding SELECT digest FROM blobs WHERE digest = new.digest AND superseded = 1
    AND NOT EXISTS (SELECT 1 FROM superseding WHERE digest = new.digest);
END;
CREATE TRIGGER former_removed AFTER DELETE ON former_digests
  WHEN NOT EXISTS (SELECT 1 FROM superseding WHERE digest = old.digest) BEGIN
  INSERT INTO superseding VALUES (old.digest);
END;
CREATE TRIGGER manifest_removed AFTER DELETE ON blobs WHEN old.kind = 0 BEGIN
  DELETE FROM former_digests WHERE digest = old.digest;
END;
`;

/**
 * What tags have named (tag-history.ts). `first_seen`, `last_seen`, `ended_at`: in milliseconds since the epoch; what a tag named
 * before this table was there counts from when upstream was last asked, as far as that fits. `ended`: `moved` or `deleted`.
 * `follows`: whether it is not the tag's first stay.
 */
const tagHistory = `
CREATE TABLE tag_history (
  id INTEGER PRIMARY KEY,
  repository INTEGER NOT NULL,
  tag TEXT NOT NULL,
  digest BLOB NOT NULL,
  follows INTEGER NOT NULL,
  first_seen INTEGER NOT NULL,
  seen_by TEXT,
  last_seen INTEGER,
  ended_at INTEGER,
  ended TEXT
) STRICT;
INSERT INTO tag_history (repository, tag, digest, follows, first_seen)
  SELECT repository, tag, digest, 0, checked_at FROM tags ORDER BY checked_at DESC LIMIT 100000;
CREATE INDEX tag_history_tag ON tag_history (repository, tag, id);
CREATE INDEX tag_history_single ON tag_history (id) WHERE ended_at IS NULL AND follows = 0;
CREATE INDEX tag_history_ended ON tag_history (ended_at) WHERE ended_at IS NOT NULL;
`;

/**
 * Migration N (counted from 1) takes an index from version N - 1 to version N. A released one never changes, because
 * there are files made by it. A change of tables is a new one at the end, which keeps the rows (a new column has a
 * default).
 */
export const migrations: readonly string[] = [
  firstTables,
  answers,
  blobChecks,
  shownLinks,
  tagsByDigest,
  linkAges,
  evictionOrder,
  imageGraph,
  savings,
  pins,
  supersession,
  purges,
  tagHistory,
  blocks,
];

/** "Entr": tells an older index from the database of another program. */
const applicationId = 0x456e7472;

/** The file is a database, but not a whole index of a version this program knows. */
export class UnknownSchema extends Error {}

/** A later version of this program wrote the index, and only that one can read it. */
export class NewerSchema extends Error {}

/**
 * The version of a whole file, 0 of an empty one. Writes nothing. `steps` are others only in tests.
 * Throws UnknownSchema, NewerSchema and the errors of `node:sqlite`.
 */
export function schemaVersion(db: DatabaseSync, steps: readonly string[] = migrations): number {
  const tables = schemaOf(db);
  if (tables.size === 0) return 0;
  const id = Number(db.prepare("PRAGMA application_id").get()?.application_id);
  const version = Number(db.prepare("PRAGMA user_version").get()?.user_version);
  if (id !== applicationId || version < 1)
    throw new UnknownSchema(`it is of application ${id}, version ${version}`);
  if (version > steps.length) {
    throw new NewerSchema(
      `a later entrepot wrote it, in version ${version}; this one reads versions up to ${steps.length}`,
    );
  }
  const torn = difference(tables, schemaAfter(steps.slice(0, version)));
  if (torn !== undefined) throw new UnknownSchema(`its schema is not that of version ${version}: ${torn}`);
  return version;
}

/**
 * Brings a file of `version` up to date in one transaction, which leaves the file locked for as long as it is open.
 * Throws the errors of `node:sqlite`.
 */
export function migrate(db: DatabaseSync, version: number, steps: readonly string[] = migrations): void {
  // Also locks when there is nothing to write, which works on a full disk.
  db.exec("BEGIN EXCLUSIVE");
  try {
    if (version < steps.length) {
      for (const step of steps.slice(version)) db.exec(step);
      db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${steps.length}`);
    }
    db.exec("COMMIT");
  } catch (error) {
    // SQLite has rolled back by itself after some failures.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** The SQL of each table, index and trigger by name, without those SQLite makes for itself. */
function schemaOf(db: DatabaseSync): ReadonlyMap<string, string> {
  const made = db.prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'");
  return new Map(made.all().map(({ name, sql }) => [String(name), String(sql)]));
}

function schemaAfter(steps: readonly string[]): ReadonlyMap<string, string> {
  const db = new DatabaseSync(":memory:");
  try {
    for (const step of steps) db.exec(step);
    return schemaOf(db);
  } finally {
    db.close();
  }
}

/** The first difference; undefined when there is none. */
function difference(
  found: ReadonlyMap<string, string>,
  expected: ReadonlyMap<string, string>,
): string | undefined {
  for (const [name, sql] of expected) {
    if (!found.has(name)) return `${name} is missing`;
    if (found.get(name) !== sql) return `${name} is another`;
  }
  for (const name of found.keys()) if (!expected.has(name)) return `${name} is foreign`;
  return undefined;
}
