// The index's tables. A file with another version is moved aside and rebuilt: nothing in it is worth a migration.

/** Raised with every change to the tables below. */
export const schemaVersion = 1;

/** "Entr", so that a foreign database is told from an old one of ours. */
export const applicationId = 0x456e7472;

/**
 * `state`: one row. `bytes` and `count` are the totals of `blobs`, so no start and no eviction pass adds up a
 * million rows.
 *
 * `repositories.present`: how many of the repository's links name a blob that is here. Kept by triggers, so that
 * a page of the catalog reads one index and never searches links.
 *
 * `links` begins with the digest: one tree answers "is it in this repository", "which size was stated" and
 * "which repositories does a new blob make present". Links outlive their blobs: what is known about access
 * stays true when the bytes are evicted.
 */
export const schema = `
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

PRAGMA application_id = ${applicationId};
PRAGMA user_version = ${schemaVersion};
`;
