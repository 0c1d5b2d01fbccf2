// What tags have named here, and for how long: kept for a year, whatever is purged or evicted meanwhile.
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { Scope } from "../scope.ts";

export const stayEnds = ["moved", "deleted"] as const;
/** `moved`: the tag named another digest from then on; `deleted`: upstream did not have it any more. */
export type StayEnd = (typeof stayEnds)[number];

/** A time in which a tag named a digest, as seen from here. In milliseconds since the epoch. */
export interface TagStay {
  readonly digest: Digest;
  /** When upstream was first asked and said so; of what an older version had kept: when it was last asked. */
  readonly firstSeen: number;
  /** Who asked then: a caller's name, else its address; undefined: nobody waited, or it is not known. */
  readonly by: string | undefined;
  /** When upstream last said so again while no record of the tag was here, to the minute; undefined: it has not. */
  readonly lastSeen?: number | undefined;
  /** When upstream first said otherwise, and what. Undefined: it has not. */
  readonly end: { readonly at: number; readonly why: StayEnd } | undefined;
}

/** A tag that names another digest than before. */
export interface TagMove extends Scope {
  readonly tag: Tag;
  readonly from: Digest;
  readonly to: Digest;
  readonly at: number;
  readonly by: string | undefined;
}

/** What upstream has said of a tag. */
export interface TagWord extends Pick<TagStay, "digest" | "by"> {
  readonly at: number;
}

/** Stays of one tag that are kept, the last ones. */
export const maxStaysOfTag = 100;
/** Milliseconds for which the stays are kept that are over. */
export const staysKeptFor = 365 * 24 * 3_600_000;

/**
 * The history of this node: other nodes have theirs (ops/history/tag-stays.ts). Bounded: of what is over the oldest goes first.
 * Throws and rejects with StoreError.
 */
export interface TagHistory {
  /**
   * Upstream has said what the tag names. Gives the digest it named before, where that was another one and the tag was not deleted
   * since. `known`: what the record said before, which another node may have made: where it is newer than what was seen here, the
   * tag had moved to it meanwhile.
   */
  named(scope: Scope, tag: Tag, word: TagWord, known?: Omit<TagWord, "by">): Promise<Digest | undefined>;
  /** Upstream has said, at `at`, that there is no such tag. `known` as above. */
  gone(scope: Scope, tag: Tag, at: number, known?: Omit<TagWord, "by">): Promise<void>;
  /** The stays of the tag that are kept, the first one first. */
  of(scope: Scope, tag: Tag): readonly TagStay[];
  /** Tags that have moved at `since` or later, the last one first; at most `limit`. */
  movedSince(since: number, limit: number): readonly TagMove[];
  /** Drops what ended before `before`, some of it at a time; to be called regularly. */
  prune(before: number): void;
}
