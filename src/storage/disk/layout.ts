// Every path in the cache directory is made here:
//
//   spool.lock, index.lock            held while a process uses the directory; never written to
//   workers.lock                      held by each worker process that reads from it, if there are any
//   index.db, index.db-wal            the index; index.db.corrupt-<time> is one that could not be read
//   index.db.copy                     an earlier state of it, for when it cannot be read; made as index.db.copy.part
//   index.used                        the index is being used, or was when a process died (index/index-file.ts)
//   index.clean                       the last stop was clean
//   index.db.damaged                  damage was found while running: the next start replaces the index
//   history.json                      traffic of the last day, for the stats page; nothing depends on it
//   spool/<32 hex>.part               blobs being fetched, and those kept to be resumed
//   spool/<32 hex>.kept               for each kept one: what it is (kept-record.ts)
//   quarantine/<algorithm>-<hex>      stored bytes that turned out not to be the digest's, for people to inspect
//   blobs/<algorithm>/<2 hex>/<hex>   verified blobs, sharded by the digest's first two digits
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import {
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestHex,
  parseDigest,
} from "../../oci/digest.ts";

export const digestAlgorithms: readonly DigestAlgorithm[] = ["sha256", "sha512"];

/** The shard names of each algorithm, `00` to `ff`. */
export const shards: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);

export class Layout {
  readonly directory: string;
  readonly blobs: string;
  readonly spool: string;
  readonly quarantine: string;
  readonly spoolLock: string;
  readonly workersLock: string;
  readonly index: string;
  readonly indexLock: string;
  readonly indexCopy: string;
  readonly indexCopyPart: string;
  readonly cleanMark: string;
  readonly usedMark: string;
  readonly damaged: string;
  readonly history: string;

  constructor(directory: string) {
    this.directory = directory;
    this.blobs = join(directory, "blobs");
    this.spool = join(directory, "spool");
    this.quarantine = join(directory, "quarantine");
    this.spoolLock = join(directory, "spool.lock");
    this.workersLock = join(directory, "workers.lock");
    this.index = join(directory, "index.db");
    this.indexLock = join(directory, "index.lock");
    this.indexCopy = join(directory, "index.db.copy");
    this.indexCopyPart = join(directory, "index.db.copy.part");
    this.usedMark = join(directory, "index.used");
    this.cleanMark = join(directory, "index.clean");
    this.damaged = join(directory, "index.db.damaged");
    this.history = join(directory, "history.json");
  }

  algorithm(algorithm: DigestAlgorithm): string {
    return join(this.blobs, algorithm);
  }

  shard(algorithm: DigestAlgorithm, shard: string): string {
    return join(this.blobs, algorithm, shard);
  }

  blob(digest: Digest): string {
    const hex = digestHex(digest);
    return join(this.blobs, digestAlgorithm(digest), hex.slice(0, 2), hex);
  }

  quarantined(digest: Digest): string {
    return join(this.quarantine, `${digestAlgorithm(digest)}-${digestHex(digest)}`);
  }

  beside(name: string): string {
    return join(this.directory, name);
  }

  spoolFile(name: string): string {
    return join(this.spool, name);
  }

  /** A new name for a spool file. */
  newSpool(): string {
    return `${randomBytes(16).toString("hex")}.part`;
  }
}

/** The record beside a spool file that is kept. */
export function recordName(spool: string): string {
  return spool.replace(/part$/, "kept");
}

/** The spool file of a spool file or a record. */
export function spoolOf(name: string): string {
  return name.replace(/kept$/, "part");
}

/**
 * Only names made here, so that the sweep deletes nothing in a directory given by mistake (`/var` has a `spool` too).
 */
export function isSpoolName(name: string): boolean {
  return /^[0-9a-f]{32}\.(?:part|kept)$/.test(name);
}

/** Only names made here: other files in the quarantine stay. */
export function isQuarantineName(name: string): boolean {
  return parseDigest(name.replace("-", ":")) !== undefined;
}

/** The digest of a file of this shard; undefined for any other name. */
export function digestOfName(algorithm: DigestAlgorithm, shard: string, name: string): Digest | undefined {
  return name.startsWith(shard) ? parseDigest(`${algorithm}:${name}`) : undefined;
}
