// What is known of what is stored: tags, rights, kept answers, sizes and uses, and what images are made of. Implementations
// live in src/storage; each port has one conformance suite in test/fixtures that every implementation runs.
import type { Digest } from "../oci/digest.ts";
import type { Role } from "../oci/manifest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { PageEnd } from "./datacenter/reported-images.ts";
import type { SavingsRow } from "./datacenter/savings.ts";
import type { Scope } from "./scope.ts";

/** The only mutable thing in the cache. Times in milliseconds since the epoch. */
export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** When upstream last confirmed that the tag names this digest. */
  readonly checkedAt: number;
  /**
   * When a client of this node last asked for the tag, as far as is known of this copy of the record. It is noted where the
   * record is at hand anyway; no store keeps it.
   */
  askedAt?: number;
}

export interface TagStore {
  /** At once what is in memory. */
  get(scope: Scope, tag: Tag): TagRecord | undefined | Promise<TagRecord | undefined>;
  /** False, and nothing written, when the stored record's `checkedAt` is later than the new one's. */
  put(scope: Scope, tag: Tag, record: TagRecord): Promise<boolean>;
  delete(scope: Scope, tag: Tag): Promise<void>;
}

/** A blob of a repository, with the size a descriptor states. */
export interface LinkedBlob {
  readonly digest: Digest;
  readonly size: number | undefined;
  /** Only a manifest of the repository names it: upstream itself has neither sent the blob nor said that it is there. */
  readonly named?: true;
}

/**
 * Where what a manifest names is a right to read. `own`: where upstream has shown the blob in one of its repositories,
 * so that a manifest proves nothing of bytes that came from elsewhere. `shared`: everywhere, for upstreams that are
 * trusted alike. `none`: nowhere, for an upstream whose repositories are not for the same readers: it has to show the blob
 * in the repository itself.
 */
export type Proofs = "own" | "shared" | "none";

/** Which repository is known to contain which digest. */
export interface LinkStore {
  /**
   * Whether there is a link that counts: one that upstream has shown, or one that `Proofs` makes as good. At once what is
   * in memory.
   */
  has(scope: Scope, digest: Digest): boolean | Promise<boolean>;
  /**
   * Whether there is a link on this node, if only because a manifest names the digest. Never where that proves nothing
   * (`none` of Proofs).
   */
  named(scope: Scope, digest: Digest): Promise<boolean>;
  /**
   * Links all digests in one transaction; known links are left as they are (a size is filled in when missing, and
   * what was named may be shown).
   */
  add(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void>;
  /** Upstream no longer has the digest in this repository. */
  remove(scope: Scope, digest: Digest): Promise<void>;
  /**
   * The same of many, without telling other nodes: they are told of what it is done for. False when what nodes share could not be
   * changed.
   */
  removeAll(scope: Scope, digests: readonly Digest[], removal?: LinkRemoval): Promise<boolean>;
  /**
   * The size a descriptor of this repository stated for the digest; where none did, that of another repository's may be
   * given. Undefined when nobody did. It proves nothing: manifests may lie.
   */
  statedSize(scope: Scope, digest: Digest): Promise<number | undefined>;
}

/** How far links go that are removed together. Stores of one node alone know only of their own. */
export interface LinkRemoval {
  /**
   * Left out: on this node and in what nodes share. `shared` is for another try: what upstream has shown here since then stays.
   */
  readonly only?: "node" | "shared";
  /** What nodes share of the repository goes whole. */
  readonly whole?: boolean;
}

/** Links of this node alone. They also end by themselves: with what they name, by age, or at a bound. */
export interface OwnLinks extends LinkStore {
  /** `ended` is called for each link that ends by itself. It must not throw. */
  onEnd(ended: (scope: Scope, digest: Digest) => void): void;
}

/**
 * What upstream said of a repository besides manifests and blobs: a list of tags or referrers, or that it has none.
 * Clients ask for the referrers of what they pull, and fail on any answer but 200 and 404 (docker since 29.1), so an
 * outage must find what was said before it.
 */
export interface StoredAnswer {
  /** The list, in the form it was put in; undefined: upstream does not have it. */
  readonly content: Buffer | undefined;
  /** When the registry gave it, in milliseconds since the epoch. */
  readonly at: number;
}

/** Answers on disk. Bounded: the oldest are dropped first, those about no manifest before the others. Throws StoreError. */
export interface AnswerStore {
  /** `key` tells the answers about one repository apart; it is at most 1,024 characters. */
  get(scope: Scope, key: string): StoredAnswer | undefined;
  /**
   * `subject`: the manifest the answer is about. It is forgotten with that manifest, and not kept when the manifest is
   * not here or not known to be in the repository: clients may ask about anything. At most 16 for one subject.
   */
  put(scope: Scope, key: string, subject: Digest | undefined, answer: StoredAnswer): void;
  delete(scope: Scope, key: string): void;
  /** Something was written to the repository: what it lacked is forgotten, and no list counts as newer than `before`. */
  expire(scope: Scope, before: number): void;
  /** Forgets everything about the repository that was answered until `before`. */
  clear(scope: Scope, before: number): void;
}

export interface IndexedBlob {
  readonly size: number;
  /** Only of manifests. */
  readonly mediaType: string | undefined;
  /**
   * When the stored bytes were last hashed, on arrival or later. Undefined: the file was found at a start and has not
   * been hashed yet, or it is young enough for a crash to have torn it.
   */
  readonly checkedAt: number | undefined;
}

/** What eviction tells apart: manifests, and blobs smaller than a border, which the index is given, or not. */
export type BlobKind = "manifest" | "small" | "large";

/**
 * Bytes that small blobs have for themselves of `room`, on the disk and in the store that nodes share: 3 %, and in a small
 * room up to 5 %, since fewer than some hundred of them are soon forgotten. `border`: bytes below which a blob is small.
 */
export function roomOfSmallBlobs(room: number, border: number): number {
  return Math.max(room * 0.03, Math.min(room * 0.05, 512 * border));
}

/** What is in the blob store: sizes, media types of manifests, uses. Rebuildable from the store, but for the uses. */
export interface BlobIndex {
  /**
   * `mediaType` only for manifests; `checkedAt` only when all of the bytes were hashed then. Adding a known digest updates
   * last use and, when given, the other two.
   */
  add(digest: Digest, size: number, mediaType: string | undefined, usedAt: number, checkedAt?: number): void;
  get(digest: Digest): IndexedBlob | undefined;
  /** The stored bytes were hashed, and are what the digest says. */
  checked(digest: Digest, at: number): void;
  /** Those never hashed here first, then those hashed longest ago; at most `limit`. */
  longestUnchecked(
    limit: number,
  ): readonly { readonly digest: Digest; readonly size: number; readonly checkedAt: number | undefined }[];
  /** The size that manifests here state for this digest; undefined when none does. */
  statedSize(digest: Digest): number | undefined;
  /** When the blob was last used, in milliseconds since the epoch; undefined when it is not here. */
  usedAt(digest: Digest): number | undefined;
  /** Cheap: remembered in memory, written in batches. */
  touch(digest: Digest, usedAt: number): void;
  remove(digest: Digest): void;
  /** Removes them in one write, except those added or used since `leastWorth` named them. */
  removeUnused(blobs: readonly { readonly digest: Digest; readonly usedAt: number }[]): Promise<void>;
  /**
   * Those of the kind that are worth least, first; at most `limit`. Manifests and small blobs are worth more the later they
   * were used. A large one has the number of its uses, counted from the worth of what was removed last before them (LFU with
   * dynamic ageing: Arlitt and others, "Evaluating content management techniques for Web proxy caches", 2000): what was used
   * often is worth less in time, and its uses count for nothing while only images use it which the last four digests of no
   * tag lead to, though a tag once did: superseded ones. What is held for pinned images (ports/pins) is not among them.
   */
  leastWorth(
    kind: BlobKind,
    limit: number,
  ): readonly { readonly digest: Digest; readonly size: number; readonly usedAt: number }[];
  /** Whether it is a large one that only superseded images use, as far as is known. */
  isSuperseded(digest: Digest): boolean;
  /** Bytes of the manifests and of the small blobs, without those held for pinned images. */
  bytesByKind(): { readonly manifest: number; readonly small: number };
  /** Bytes of what is here and held for pinned images. */
  pinnedBytes(): number;
  totals(): { readonly bytes: number; readonly count: number };
  /** Bytes the index itself takes, beyond what a small one does. */
  ownBytes(): number;
  /** Images (manifests) that name `digest`; for counting what an eviction orphans. */
  manifestsNaming(digest: Digest): number;
  /** Records that manifest `digest` names `children`, and of which manifest it is a referrer (ImageGraph). */
  setChildren(digest: Digest, children: readonly NamedPart[], subject?: Digest): void;
  /** Repositories of `upstream` with a linked blob that is here, in ASCII order, after `last`, at most `limit`. */
  repositories(upstream: string, last: string | undefined, limit: number): readonly Repository[];
}

/** What a manifest names, as it states it. */
export interface NamedPart {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number | undefined;
  /** Left out: a layer. */
  readonly role?: Role;
  /** Of an image in an index; see Descriptor. */
  readonly platform?: string | undefined;
}

export interface KnownPart extends NamedPart {
  readonly role: Role;
  /** When it was last used, in milliseconds since the epoch; undefined: it is not here. */
  readonly usedAt: number | undefined;
}

/** Some of what was asked for; `truncated`: there is more. */
export interface Some<Item> {
  readonly found: readonly Item[];
  readonly truncated: boolean;
}

export interface NamingTag extends Scope {
  readonly tag: string;
  /** What the tag's record names: the digest that was asked for, or a manifest that leads to it. */
  readonly digest: Digest;
}

export interface BlobUsers {
  /** Manifests here that name it, or that name one which does, nearest first; the subject of one counts as naming it. */
  readonly manifests: readonly Digest[];
  readonly tags: readonly NamingTag[];
  /** Repositories that are known to contain it. */
  readonly repositories: readonly Scope[];
  readonly truncated: boolean;
}

/** A manifest in the order of last uses. */
export interface UsedManifest {
  readonly digest: Digest;
  /** Bytes of its body. */
  readonly size: number;
  readonly mediaType: string;
  /** Milliseconds since the epoch. */
  readonly usedAt: number;
}

/** `next`: where the next page begins; undefined after the last one. */
export interface ManifestPage {
  readonly manifests: readonly UsedManifest[];
  readonly next: PageEnd | undefined;
}

/**
 * The image graph: which manifest that is here names which manifests, configs and layers, and which one it is a referrer of.
 * It answers what an image needs and who needs a blob, and grants nothing: links are the right to read. Every answer is
 * bounded by its `limit`, and what it reads for it as well. "Here" is what the index says. All throw
 * StoreError.
 */
export interface ImageGraph {
  /** Tags of the repository whose record names the digest; at most `limit`. */
  tagsNaming(scope: Scope, digest: Digest, limit: number): readonly string[];
  /** Manifests here that name the digest and that the repository is linked to; at most `limit`. Not those of referrers. */
  parentsIn(scope: Scope, digest: Digest, limit: number): readonly Digest[];
  /** Manifests here that name the digest, in whatever repository; at most `limit`. Not those of referrers. */
  parents(digest: Digest, limit: number): readonly Digest[];
  /** What the manifest names, in the order of digests; at most `limit`. */
  parts(manifest: Digest, limit: number): readonly KnownPart[];
  /** Manifests here whose subject it is; at most `limit`. */
  referrers(manifest: Digest, limit: number): readonly Digest[];
  /**
   * What is not here of the manifest and all it names, so that it is whole when nothing is found and nothing `truncated`.
   * `platform`: that of the image it belongs to. What a missing manifest names is not known.
   */
  missing(manifest: Digest, limit: number): Some<KnownPart>;
  /** Who uses the blob or manifest; of each kind at most `limit`. */
  users(digest: Digest, limit: number): BlobUsers;
  /**
   * Whether a tag record names the digest, or a manifest that leads to it; true as well when more lead to it than are
   * looked at (1,000). A manifest without is superseded, or was only asked for by its digest.
   */
  tagged(digest: Digest): boolean;
  /** Manifests that are not `tagged`, the longest unused first, of `limit` that are looked at. */
  untagged(after: PageEnd | undefined, limit: number): ManifestPage;
  /**
   * Images used at `since` or later, in the order of their last use, of `limit` manifests that are looked at: not those that
   * an index, or a subject, used since then leads to. One that is used meanwhile may come twice.
   */
  pulled(since: number, after: PageEnd | undefined, limit: number): ManifestPage;
  /**
   * Who uses the blob or manifest when those of `leaving` are gone: the first that is found, by a tag where one leads to it;
   * undefined when there is none. At most 1,000 manifests are looked at; when more lead to it, it counts as used.
   */
  userBesides(digest: Digest, leaving: Leaving): BlobUser | undefined;
}

/** What is to go, and therefore uses nothing any more. */
export interface Leaving {
  readonly digests: Pick<ReadonlySet<Digest>, "has">;
  /** Those of them that go whoever uses them. */
  readonly regardless: Pick<ReadonlySet<Digest>, "has">;
  /** Whether a repository loses them, so that its link to one is no use. */
  readonly loses: (scope: Scope) => boolean;
  /** Whether that tag goes. */
  readonly tagGoes: (tag: NamingTag) => boolean;
  /** Those that were found to be used by nothing else: `userBesides` adds them, and does not look at them again. */
  readonly unused: Set<Digest>;
}

export type BlobUser =
  | ({ readonly by: "tag" } & NamingTag)
  | { readonly by: "manifest"; readonly digest: Digest }
  | ({ readonly by: "repository" } & Scope)
  /** More than are looked at. */
  | { readonly by: "many" };

/** What each team has had of each upstream in each month. */
export interface SavingsStore {
  /**
   * Adds the sums to what is there, all of them or none; the prices replace those that are there. Throws StoreError. Of a
   * month with more pairs of team and upstream than are kept, what is new counts for `otherRow`.
   */
  add(rows: readonly SavingsRow[]): void;
  /** Of that month, or of all that are kept; in order of month, team and upstream. Throws StoreError. */
  rows(month?: string): readonly SavingsRow[];
}

/** What stands for a team or an upstream where there is none, or too many. */
export const otherRow = "other";

/** Months of the ledger that are kept: the last ones in which anything was counted. */
export const savingsMonths = 13;
