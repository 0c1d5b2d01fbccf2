// An index of millions of blobs in seconds: its rows are made by SQL inside SQLite, in the order of their digests, so that every
// tree of the file grows at its end. That leaves its pages fuller than those of an index that grew blob by blob, as
// large-index.ts makes one, where a million takes minutes. Triggers are left on: they keep the totals.
import { closeSync, ftruncateSync, linkSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Digest, makeDigest } from "../../../src/oci/digest.ts";
import { Layout } from "../../../src/storage/disk/layout.ts";
import { openDiskStore } from "../../../src/storage/disk/store.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";

/** Bytes of every blob: too large to be held in memory, so that each request for one asks the index. */
export const madeBlobSize = 70_000;
/** Blobs of one image: one manifest and its layers. */
const imageSize = 10;
const repositories = 2_000;
/** The index ends the oldest links beyond so many (src/storage/index/links.ts). */
const mostLinks = 4_000_000;
/** Digests begin with so many bits that are spread evenly. */
const spreadBits = 48;
const upstream = "upstream";
const manifestType = "application/vnd.oci.image.manifest.v1+json";

/** A blob that can be asked for. */
export interface MadeBlob {
  readonly path: string;
  readonly digest: Digest;
}

/**
 * Makes the cache directory, which must be empty, with an index of so many blobs, each in one repository. Gives `asked` layers
 * spread over all of them, half at most, which have files, sparse ones. A mirror that was killed would look for the others.
 */
export async function makeIndex(
  directory: string,
  blobs: number,
  asked: number,
): Promise<readonly MadeBlob[]> {
  await (await openDiskStore({ directory })).close();
  const index = openIndex({ directory, clock: Date.now });
  index.reconciled();
  index.close();
  const layout = new Layout(directory);
  insertRows(layout.index, blobs);
  const first = Math.max(0, blobs - mostLinks);
  const made = Array.from({ length: asked }, (_, number) => {
    const even = first + Math.floor((number * (blobs - first)) / asked);
    const at = even % imageSize === 0 ? even + 1 : even;
    const hex = (at * spreadOf(blobs)).toString(16).padStart(spreadBits / 4, "0");
    const digest = makeDigest("sha256", hex + at.toString(16).padStart(64 - spreadBits / 4, "0"));
    return { path: `/v2/${repositoryOf(at)}/blobs/${digest}`, digest };
  });
  makeFiles(layout, made);
  return made;
}

function repositoryOf(at: number): string {
  return `bench/app-${Math.floor(at / imageSize) % repositories}`;
}

/** The distance of two digests that follow each other, in the bits that are spread. */
function spreadOf(blobs: number): number {
  return Math.floor(2 ** spreadBits / blobs);
}

function insertRows(path: string, blobs: number): void {
  const db = new DatabaseSync(path);
  const now = Date.now();
  // The file is thrown away when this fails, so nothing needs to be undone.
  db.exec(`
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = FILE;
    BEGIN;
    CREATE TEMP TABLE made (at INTEGER PRIMARY KEY, digest BLOB NOT NULL);
    INSERT INTO made
      WITH RECURSIVE numbers (at) AS (SELECT 0 UNION ALL SELECT at + 1 FROM numbers WHERE at < ${blobs} - 1)
      SELECT at, unhex(printf('%0${spreadBits / 4}x', at * ${spreadOf(blobs)}) || printf('%0${64 - spreadBits / 4}x', at))
        FROM numbers;
    INSERT INTO repositories (id, upstream, name)
      SELECT at + 1, '${upstream}', 'bench/app-' || at FROM made WHERE at < ${repositories};
    INSERT INTO blobs (digest, size, media_type, used_at, checked_at, kind, worth)
      SELECT digest, ${madeBlobSize}, iif(at % ${imageSize} = 0, '${manifestType}', NULL),
        ${now - blobs} + at, ${now - 86_400_000}, iif(at % ${imageSize} = 0, 0, 1), 0 FROM made;
    INSERT INTO links (digest, repository, size, shown, confirmed_at)
      SELECT digest, at / ${imageSize} % ${repositories} + 1, ${madeBlobSize}, 1, ${now}
        FROM made WHERE at >= ${Math.max(0, blobs - mostLinks)};
    INSERT INTO children (manifest, child, size)
      SELECT image.digest, layer.digest, ${madeBlobSize}
        FROM made AS layer JOIN made AS image ON image.at = layer.at - layer.at % ${imageSize}
        WHERE layer.at % ${imageSize} <> 0;
    COMMIT;
  `);
  db.close();
}

/** Names of one sparse file. */
function makeFiles(layout: Layout, blobs: readonly MadeBlob[]): void {
  const [first, ...rest] = blobs.map(({ digest }) => layout.blob(digest));
  if (first === undefined) return;
  mkdirSync(dirname(first), { recursive: true, mode: 0o700 });
  const file = openSync(first, "w", 0o600);
  ftruncateSync(file, madeBlobSize);
  closeSync(file);
  for (const path of rest) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    linkSync(first, path);
  }
}
