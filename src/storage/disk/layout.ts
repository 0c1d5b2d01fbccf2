// Every path in the cache directory is made here:
//
//   spool.lock, index.lock            held while a process uses the directory; never written to
//   index.db, index.db-wal            the index; index.db.corrupt-<time> is one that could not be read
//   index.db.copy                     an earlier state of it, for when it cannot be read; index.db.copy.part is made
//   index.used                        the index is being used, or was when a process died (index/index-file.ts)
//   index.clean                       the index was closed in good order
//   index.db.damaged                  damage was met while running: begin a new index at the next start
//   history.json                      traffic of the last day, for the stats page; nothing depends on it
//   spool/<32 hex>.part               blobs under way, and what is kept of some that nobody wanted any more
//   spool/<32 hex>.kept               for each of the latter: what it is (kept-record.ts)
//   quarantine/<algorithm>-<hex>      stored bytes that turned out not to be the digest's: for people; nothing reads them
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

  /** A name in the spool directory that no other fill has. */
  newSpool(): string {
    return `${randomBytes(16).toString("hex")}.part`;
  }
}

/** The record beside a spool file that is kept. */
export function recordName(spool: string): string {
  return spool.replace(/part$/, "kept");
}

/** The spool file that a file of the spool directory is, or has the record of. */
export function spoolOf(name: string): string {
  return name.replace(/kept$/, "part");
}

/** Names we made ourselves; a directory given by mistake (`/var` has a `spool` too) loses nothing to the sweep. */
export function isSpoolName(name: string): boolean {
  return /^[0-9a-f]{32}\.(?:part|kept)$/.test(name);
}

/** Whether a file in the quarantine was put there by us. */
export function isQuarantineName(name: string): boolean {
  return parseDigest(name.replace("-", ":")) !== undefined;
}

/** The digest a file of this shard is named for; undefined for a foreign name. */
export function digestOfName(algorithm: DigestAlgorithm, shard: string, name: string): Digest | undefined {
  return name.startsWith(shard) ? parseDigest(`${algorithm}:${name}`) : undefined;
}
