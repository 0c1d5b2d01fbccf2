// What one node says of itself to the others of its datacenter, so that any of them can answer for all.
import type { Digest } from "../../oci/digest.ts";
import type { Repository, Tag } from "../../oci/name.ts";
import type { Reference } from "../../oci/reference.ts";
import type { CircuitStateName, Result } from "../event.ts";
import type { TagStay } from "../history/tag-history.ts";
import type { PinCommand } from "../pins/pins.ts";
import type { Scope } from "../scope.ts";
import type { DrillRecord } from "./drill.ts";
import type { PageEnd, ReportedPage } from "./reported-images.ts";
import type { NodeSavings } from "./savings.ts";

/** Sums over a time. Byte counts are of bodies; pings, tokens and probes are no requests here. */
export interface TrafficSums {
  readonly requests: number;
  /** Answers that were not what should have been: 5xx, and bodies cut short by a node or an upstream. */
  readonly failed: number;
  /** Exclusive: they add up to `requests`. */
  readonly results: Readonly<Record<Result, number>>;
  /** Blobs and manifests that were asked for and that there are. */
  readonly reads: number;
  /** Those of them that were answered without a download: hit, stale, revalidated. */
  readonly hits: number;
  /** `hits` of `reads`, from 0 to 1; null when nothing was read. */
  readonly hitRatio: number | null;
  readonly sentBytes: number;
  readonly fetchedBytes: number;
}

/** `not_ready`: it starts, or a check that it needs fails. `draining`: it ends what is under way. */
export const nodeStates = ["up", "not_ready", "draining"] as const;
export type NodeState = (typeof nodeStates)[number];

/** What a node may be called: as `node.name` may be configured, which test/config/schema-nodes.test.ts compares. */
export const nodeNameGrammar = /^[\w.-]{1,128}$/;

/** A node at one moment: a few KB at most. Times in milliseconds since the epoch, by that node's clock. */
export interface NodeSummary {
  readonly name: string;
  /** Where the other nodes reach it (`http://host:port`); null when they do not. */
  readonly address: string | null;
  readonly version: string;
  readonly at: number;
  readonly startedAt: number;
  readonly state: NodeState;
  /** At most 5 reasons of 200 characters, the worst first. */
  readonly verdict: { readonly level: "ok" | "degraded" | "down"; readonly reasons: readonly string[] };
  /** Requests under way. */
  readonly inFlight: number;
  readonly lastHour: TrafficSums;
  readonly sinceStart: TrafficSums;
  readonly store: {
    readonly usedBytes: number;
    readonly limitBytes: number;
    readonly objects: number;
  };
  /** At most 16. */
  readonly upstreams: readonly {
    readonly name: string;
    readonly circuit: CircuitStateName;
    readonly lastSuccessAt: number | null;
  }[];
  /** The last drill it knows of that would not be over yet; null and left out: none. */
  readonly drill?: DrillRecord | null | undefined;
}

/** What another node has said of itself. */
export interface HeardSummary {
  readonly summary: NodeSummary;
  /** Milliseconds since it said so, 0 or more. */
  readonly ageMs: number;
}

/** An image that clients of a node have pulled from it. */
export interface PulledImage {
  /** As ports/datacenter/upstream-id.ts says. */
  readonly upstream: string;
  /** By the name it has there. */
  readonly repository: Repository;
  /** A tag; a digest where no tag names it. */
  readonly reference: Reference;
  /** Those of an index that were pulled, as in `linux/amd64`; none: all, or it is no index. */
  readonly platforms: readonly string[];
}

export interface PulledImages {
  /** Those used last first, at most `maxPulledImages`. */
  readonly images: readonly PulledImage[];
  /** Images that were pulled and are not told, as far as they were counted. */
  readonly leftOut: number;
}

/** As many as one job may have (ops/jobs/jobs.ts). */
export const maxPulledImages = 1_000;

/** How the nodes of a datacenter tell each other of themselves. */
export interface NodeSummaries {
  /**
   * Says what this node is now, and resolves with what each other node has said last, those that have gone too where that is
   * remembered; at most 64. Rejects, within two seconds, when nothing can be heard.
   */
  exchange(own: NodeSummary): Promise<readonly HeardSummary[]>;
}

/** Where nodes ask each other on the listener of the clients, below its own paths. */
export const nodePaths = {
  summary: "/node/v1/summary",
  holding: "/node/v1/holding",
  repositories: "/node/v1/repositories",
  savings: "/node/v1/savings",
  pulled: "/node/v1/pulled",
  reported: "/node/v1/reported-images",
  pins: "/node/v1/pins",
  tagStays: "/node/v1/tag-stays",
  purges: "/node/v1/purges",
  purge: "/node/v1/purge",
  purgeNow: "/node/v1/purge-now",
  purgeParts: "/node/v1/purge-parts",
  purgeUses: "/node/v1/purge-uses",
  refresh: "/node/v1/refresh",
  blocks: "/node/v1/blocks",
  block: "/node/v1/block",
  blockNow: "/node/v1/block-now",
  blockUses: "/node/v1/block-uses",
} as const;

/** Digests asked about at once, at most. */
export const maxAsked = 500;

/** Names of repositories in one answer, at most. */
export const maxNames = 1_000;

/**
 * Questions to one other node, by its address. Each is signed; all reject within a second when there is no good answer, and at
 * once when as many as may be are under way there. Who asks what is being asked already gets the same answer.
 */
export interface OtherNodes {
  summary(address: string): Promise<NodeSummary>;
  /** Those of the digests that it has on its disk; of at most 500. */
  holding(address: string, digests: readonly Digest[]): Promise<ReadonlySet<Digest>>;
  /**
   * Names of its repositories of an upstream after `last`, in order, at most `limit` (of 1,000): all there are when it gives
   * fewer. None when it has no such upstream.
   */
  repositories(
    address: string,
    upstream: string,
    last: string | undefined,
    limit: number,
  ): Promise<readonly Repository[]>;
  /** Its ledger of a month, such as 2026-11, or of `all` that are kept. */
  savings(address: string, month: string): Promise<NodeSavings>;
  /** Images that its clients have pulled in the last `days` days. Within ten seconds: it reads its image graph for that. */
  pulled(address: string, days: number): Promise<PulledImages>;
  /**
   * For readiness: what it knows of the images pulled through it at `since` (milliseconds since the epoch) or later, after
   * those up to `after`.
   */
  reported(address: string, since: number, after: PageEnd | undefined): Promise<ReportedPage>;
  /** What was commanded of pins, by the names upstreams have among nodes (upstream-id.ts). */
  pins(address: string): Promise<readonly PinCommand[]>;
  /** What it has seen the tag name. None when it has no such upstream. */
  tagStays(address: string, scope: Scope, tag: Tag): Promise<readonly TagStay[]>;
}

/** What nodes ask each other to do, and what else they ask for it. */
export interface NodeCommands {
  /** The answer of 200 to a signed question; `timeout`: milliseconds. Rejects when there is none. */
  command(address: string, path: string, query: URLSearchParams, timeout: number): Promise<unknown>;
}

export interface KnownNode extends Pick<NodeSummary, "name" | "address"> {
  readonly lastAddress?: string | null;
}

/** The other nodes of the last day, and how they are asked. */
export interface Neighbours {
  /** Undefined where nodes sign nothing: then none of them can be asked. */
  readonly nodes: OtherNodes | undefined;
  /**
   * At most 64. `address` is null of one that is not asked: others do not reach it, or it is unreachable at present, and then has
   * had `lastAddress`. Does no I/O.
   */
  list(): readonly KnownNode[];
}
