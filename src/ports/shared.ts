// What the nodes of one datacenter share, when they share anything. All of it may fail at any moment and none of it is
// needed to answer: a node alone has its own disk, its own index and the upstream (docs/design.md, rule 8). Each port has
// one conformance suite in test/fixtures that every implementation runs.
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/name.ts";
import type { BlobInfo, BlobReader } from "./blobs.ts";
import type { NoticeSink } from "./event.ts";
import type { Scope } from "./scope.ts";
import { orNotice } from "./store-notice.ts";
import type { BlobAnswer, ManifestAnswer } from "./upstream-answer.ts";

/** A blob being read from the shared store. */
export interface SharedBlob {
  /** Bytes of the whole blob. */
  readonly size: number;
  /** Known for manifests. */
  readonly mediaType: string | undefined;
  /** Last modification, milliseconds since the epoch. */
  readonly modifiedAt: number;
  /**
   * Bytes from the offset asked for on, never more than there should be. Rejects with StoreError when the store fails
   * or ends early; leaving the iteration early closes the transfer. Not verified: the reader hashes.
   */
  readonly body: AsyncIterable<Buffer>;
}

/** Verified blobs in a store that every node reaches. Everything rejects with StoreError within a bounded time. */
export interface SharedBlobs {
  /** Name for events: where bytes read from here came from. */
  readonly source: "s3";
  /** Undefined when the blob is not there. 0 <= `from` < size; the signal ends the transfer. */
  open(digest: Digest, from: number, signal: AbortSignal): Promise<SharedBlob | undefined>;
  /** Undefined when the blob is not there. */
  head(digest: Digest): Promise<Omit<SharedBlob, "body"> | undefined>;
  /**
   * Uploads a blob the caller has verified; nothing is visible before all of it is there. Storing what another node
   * has stored meanwhile is a success. `blob` is read from 0 to `size` and stays the caller's to close. The store
   * itself must refuse bytes that are not the digest's wherever it can.
   */
  put(
    digest: Digest,
    size: number,
    mediaType: string | undefined,
    blob: Pick<BlobReader, "read">,
    signal: AbortSignal,
  ): Promise<void>;
  /** The blob has been used: a store that evicts by age keeps it longer. */
  refresh(digest: Digest): Promise<void>;
  /** True when something was removed, or may have been where the store does not say. */
  delete(digest: Digest): Promise<boolean>;
  /** Every stored blob, in no order. */
  list(): AsyncIterable<BlobInfo>;
}

/** The right to do something that one node should do for all. It is prolonged until it is released. */
export interface Lease {
  /** Aborts when the lease has been lost; for blobs that is no reason to stop (commits are idempotent). */
  readonly lost: AbortSignal;
  /** Gives the right back, if it is still ours. Idempotent; never rejects. */
  release(): Promise<void>;
}

/**
 * Leases by key. A lease whose holder has died is free again within 5 s. They only save work: a node that gets no answer
 * does the work itself.
 */
export interface Leases {
  /**
   * The lease, or the address its holder serves on (`http://host:port`), undefined when the holder names none.
   * A node that asks for a lease it has, or had before it was killed, gets it and is not sent to itself.
   * Rejects with StoreError when the leases cannot be asked.
   */
  acquire(key: string): Promise<{ readonly lease: Lease } | { readonly heldBy: string | undefined }>;
}

/** Header of a request by another node of this datacenter; its value is that node's name (BlobCache.openForPeer). */
export const peerHeader = "entrepot-node";

/** The other live nodes of the datacenter. */
export interface Nodes {
  /** The addresses they serve on (`http://host:port`), as known some seconds ago; at most 16. Does no I/O. */
  others(): readonly string[];
}

/** Other nodes, to read from them what they have or are fetching. */
export interface Peers {
  /**
   * Whether the node at `address` can serve the blob or manifest to `repository` without upstream. Rejects within a bounded
   * time when it does not say.
   */
  has(address: string, scope: Scope, digest: Digest, as: "blob" | "manifest"): Promise<boolean>;
  /**
   * What the node at `address` has or is fetching, from `from` on and before `to`, when that is given; `absent` when it does
   * neither. It checks the right of `repository` as for any client. Rejects with UpstreamError within a bounded time.
   */
  open(
    address: string,
    scope: Scope,
    digest: Digest,
    from: number,
    signal: AbortSignal,
    to?: number,
  ): Promise<BlobAnswer>;
  /**
   * The manifest, where the node at `address` can serve it to `repository` without upstream. Rejects with UpstreamError within a
   * bounded time.
   */
  manifest(address: string, scope: Scope, digest: Digest): Promise<ManifestAnswer>;
}

/** What one node tells the others. A message may be lost while a node cannot be reached: time-outs remain the bound. */
export type Announcement =
  /** The record of this tag has changed or gone: read it again before using a copy. */
  | {
      readonly kind: "tag";
      readonly scope: Scope;
      readonly tag: Tag;
    }
  /** Upstream has confirmed that the tag still names what its record says. */
  | {
      readonly kind: "confirmed";
      readonly scope: Scope;
      readonly tag: Tag;
    }
  /** Upstream no longer has the digest in this repository. */
  | {
      readonly kind: "unlinked";
      readonly scope: Scope;
      readonly digest: Digest;
    }
  /** Upstream has just said that it does not have this; `what` is a tag or digest. */
  | {
      readonly kind: "absent";
      readonly scope: Scope;
      readonly as: "manifest" | "blob";
      readonly what: string;
    }
  /** Something was written to the repository: what was absent may be there now. */
  | { readonly kind: "written"; readonly scope: Scope }
  /** An operator has had something deleted: read the purges (ports/purge) again, and do the same. */
  | { readonly kind: "purged"; readonly id: string }
  /** An operator has had the digest blocked, or unblocked: read what is (ports/block) again. */
  | { readonly kind: "blocked"; readonly digest: Digest }
  /** The lease of this key has been released. */
  | { readonly kind: "released"; readonly key: string };

export interface Announcements {
  /**
   * Says it at once. Resolves, for `tag`, `unlinked`, `written`, `purged` and `blocked`, when every node that listens has acted upon it, or has not
   * said so within a second; for the others when it is said. Never rejects.
   */
  publish(announcement: Announcement): Promise<void>;
  /**
   * Announcements of other nodes. A node has acted upon one when what its listeners return has ended. `missed` is called
   * whenever some may have been lost (a new connection): copies of what others may have changed must be read again.
   */
  subscribe(listener: (announcement: Announcement) => unknown, missed: () => void): void;
}

/** For a store of this node over the one all nodes share. */
export interface LayeredOptions<Store> {
  readonly local: Store;
  readonly shared: Store;
  /** Whether the shared store can be asked; while it cannot, nothing is tried and no notice sent. */
  readonly usable: () => boolean;
  readonly announcements: Announcements;
  readonly notices: NoticeSink;
}

/** The answer of a shared store; undefined when it cannot be asked, or fails. `op` as in store-notice.ts. */
export async function askShared<Value>(
  op: string,
  { usable, notices }: Pick<LayeredOptions<unknown>, "usable" | "notices">,
  ask: () => Promise<Value>,
): Promise<Value | undefined> {
  return usable() ? await orNotice(op, notices, ask) : undefined;
}
