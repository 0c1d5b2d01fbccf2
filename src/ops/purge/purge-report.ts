// What is told of purges and refreshes, for people and programs. Members are added, none is renamed or removed. Times end in At
// and are milliseconds since the epoch, sizes in Bytes; what is not known is null.
import type { Role } from "../../oci/descriptor.ts";

export interface PurgedPart {
  readonly digest: string;
  readonly role: Role;
  readonly sizeBytes: number | null;
  /** On the disk of the node that answers. */
  readonly here: boolean;
}

/**
 * `planned`: of a dry run. `done`. `partly`: something could not be reached, or the node refuses or has not said in time that
 * it is done; it is tried again. `away`: it does not answer, and does the same when it is back. `told`: it was told, and has
 * not said what came of it.
 */
export const purgedStates = ["planned", "done", "partly", "away", "told"] as const;

export interface PurgeReport {
  readonly schema: 1;
  /** Null of a dry run. */
  readonly id: string | null;
  readonly at: number;
  readonly kind: "tag" | "image" | "repository";
  readonly upstream: string | null;
  readonly repository: string | null;
  readonly tag: string | null;
  readonly digest: string | null;
  readonly chosenBy: string | null;
  /** Tags and parts at most 500 of each; the sums are of all. */
  readonly tags: readonly {
    readonly upstream: string;
    readonly repository: string;
    readonly tag: string;
    readonly digest: string | null;
  }[];
  readonly goes: readonly PurgedPart[];
  readonly stays: readonly (PurgedPart & { readonly why: string })[];
  /** Of the node that answers: bytes and parts on its disk; `images` are manifests. */
  readonly sums: {
    readonly tags: number;
    readonly images: number;
    readonly layers: number;
    readonly bytes: number;
    readonly staysParts: number;
    readonly staysBytes: number;
  };
  /** There is more than is looked at: another purge takes the rest. */
  readonly truncated: boolean;
  /** Pinned images that need some of what goes; at most 10. */
  readonly pinnedBy: readonly string[];
  /** Whether objects in S3 go, too. */
  readonly s3: boolean;
  readonly nodes: readonly {
    readonly name: string;
    readonly self: boolean;
    readonly state: (typeof purgedStates)[number];
    /** Parts on its disk that go or have gone, and their bytes. */
    readonly parts: number | null;
    readonly bytes: number | null;
  }[];
}

/**
 * Of a tag: `unchanged`, `moved`, `new` (it was not known), `gone` (upstream does not have it, or refuses it). Of a digest:
 * `sound`, `fetched` (some was missing or wrong, and has come again), `running` (it goes on). `failed`: see `problem`. `away`: it
 * does not answer.
 */
export const refreshedStates = [
  "unchanged",
  "moved",
  "new",
  "gone",
  "sound",
  "fetched",
  "running",
  "failed",
  "away",
] as const;

export interface RefreshedNode {
  readonly name: string;
  readonly self: boolean;
  readonly state: (typeof refreshedStates)[number];
  /** What the tag named before, and names now. */
  readonly was: string | null;
  readonly is: string | null;
  /** Of a digest: parts hashed, those found wrong or missing, and bytes hashed. */
  readonly checked: number;
  readonly wrong: number;
  readonly bytes: number;
  readonly problem: string | null;
}

export interface RefreshReport {
  readonly schema: 1;
  readonly at: number;
  readonly upstream: string;
  readonly repository: string;
  readonly reference: string;
  readonly chosenBy: string;
  readonly nodes: readonly RefreshedNode[];
}
