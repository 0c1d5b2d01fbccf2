// The document behind /api/v1/stats (and /stats.json, its older name), the stats page and its stream of events. Stable:
// members are added, none is renamed or removed while `schema` is 1. Times end in `At` (milliseconds since the epoch),
// durations in `Ms`, sizes in `Bytes` (or say so); what is not known is null; shares go from 0 to 1. This file and the types
// it names are its reference; ops/api/stats-schema.ts says the same to programs, and test/ops/stats/stats-document.test.ts
// holds the document to it.

import type { DrillRecord } from "../../ports/datacenter/drill.ts";
import type { SiblingVerdict } from "../../ports/datacenter/sibling-verdict.ts";
import type { ActivityReport } from "../../telemetry/recent/recent-activity.ts";
import type { RecentUpstream } from "../../telemetry/recent/recent-upstreams.ts";
import type { SavingsDocument } from "../../telemetry/savings/savings-document.ts";
import type { BlockReport } from "../block/block-report.ts";
import type { ReportedStay } from "../history/tag-report.ts";
import type { DatacenterDocument } from "./datacenter.ts";

export type Level = "ok" | "degraded" | "down";

export interface Verdict {
  readonly level: Level;
  /** Why, in plain words, the worst first; empty when all is well. */
  readonly reasons: readonly string[];
}

export interface UpstreamStats extends RecentUpstream {
  /** Requests that hold a connection now, and how many may. */
  readonly activeConnections: number;
  readonly maxConnections: number;
  /** It is asked for nothing, by the configuration. */
  readonly offline: boolean;
}

/** A mirror of another datacenter; counts are since the start (SiblingVerdict). */
export interface SiblingStats {
  readonly name: string;
  /** Whether it is asked, or why not. */
  readonly state: SiblingVerdict["state"];
  readonly bytesPerSecond: number | null;
  readonly results: SiblingVerdict["results"];
  readonly lastHitAt: number | null;
  readonly lastError: NonNullable<SiblingVerdict["lastError"]> | null;
}

export interface StoreStats {
  readonly usedBytes: number;
  /** `cache.maxSize`. */
  readonly limitBytes: number;
  /** What fits: `cache.maxSize`, or what is here with what the disk has free beyond its reserve, if that is less. */
  readonly boundBytes: number;
  readonly boundBy: "maxSize" | "disk";
  readonly objects: number;
  /** Of the file system; null until it was first measured. */
  readonly diskFreeBytes: number | null;
  readonly diskTotalBytes: number | null;
  /** Bytes of the file system that eviction keeps free. */
  readonly diskReserveBytes: number | null;
  readonly evictionMedianAgeMs: number | null;
  readonly lastEvictionAt: number | null;
  /** At the rate of the last hour; null while the store does not grow. */
  readonly timeToFullMs: number | null;
}

/** Hashing again what is stored; counts are since the start. */
export interface ScrubStats {
  /** Milliseconds in which everything is hashed once; null: never. */
  readonly intervalMs: number | null;
  /** Of the blob that was hashed the longest ago; 0: there is one that never was; null: nothing is stored. */
  readonly oldestCheckAt: number | null;
  readonly checkedBlobs: number;
  readonly checkedBytes: number;
  /** Blobs that were not what their digest says. */
  readonly wrongBlobs: number;
  readonly lastWrongAt: number | null;
  /** So much reads wrong in a row that the disk or the memory must be at fault: nothing more is taken out. */
  readonly alarm: boolean;
  /** Wrong blobs kept for inspection. */
  readonly quarantinedBytes: number;
}

export interface RunningFill {
  readonly digest: string;
  readonly upstream: string;
  readonly repository: string;
  readonly receivedBytes: number;
  /** Null while upstream sends without a length. */
  readonly sizeBytes: number | null;
  readonly followers: number;
  readonly startedAt: number;
  /** Since the start. */
  readonly bytesPerSecond: number;
  /** In the last second, 0 when nothing has come for three; null while too little is known. */
  readonly currentBytesPerSecond: number | null;
  /** Since the last byte came. */
  readonly silentMs: number;
  /** At the current rate; null while the size or the rate is not known, or nothing comes. */
  readonly leftMs: number | null;
}

/** Something this node can do without: Redis, S3, receivers of notifications that take none. */
export interface ServiceStats {
  readonly name: string;
  readonly ok: boolean;
  /** False: nothing is known of it yet. */
  readonly asked: boolean;
  readonly detail: string;
}

/** Work that waits: uploads to S3, notifications. */
export interface QueueStats {
  readonly name: string;
  readonly length: number;
}

export interface RuntimeStats {
  /** How late timers came since the last document, in milliseconds. */
  readonly eventLoopP50Ms: number | null;
  readonly eventLoopP99Ms: number | null;
  readonly residentBytes: number | null;
  readonly heapBytes: number;
  readonly externalBytes: number;
}

export interface StatsDocument {
  readonly schema: 1;
  readonly at: number;
  readonly node: {
    /** Among the nodes of its datacenter. */
    readonly name: string;
    readonly version: string;
    readonly startedAt: number;
    readonly ready: boolean;
    readonly draining: boolean;
    /** How clients reach the mirror. */
    readonly mirrorUrl: string;
  };
  /** How clients are pointed at the mirror, for a page nobody has pulled from yet; empty once there is traffic. */
  readonly clients: readonly {
    readonly client: string;
    readonly files: readonly { readonly path: string; readonly text: string }[];
    /** Files that are not shown. */
    readonly more: number;
    /** What has to be started again. */
    readonly restart: string;
  }[];
  /** Where else to look; null: not configured. */
  readonly links: {
    readonly runbook: string | null;
    readonly grafana: string | null;
    readonly haproxy: string | null;
  };
  readonly verdict: Verdict;
  /** All nodes, this one among them. Everything else here is of this node alone. */
  readonly datacenter: DatacenterDocument;
  readonly upstreams: readonly UpstreamStats[];
  readonly siblings: readonly SiblingStats[];
  /** The drill that is on; null: none is. */
  readonly drill: DrillRecord | null;
  readonly traffic: Pick<ActivityReport, "windows" | "sinceStart" | "series"> & { readonly inFlight: number };
  readonly store: StoreStats & Pick<ActivityReport, "lastStoreError"> & { readonly scrub: ScrubStats };
  /** Tags that were noticed here to have moved in the last day, the last one first; at most 20. */
  readonly movedTags: readonly MovedTag[];
  readonly fills: readonly RunningFill[];
  readonly slow: ActivityReport["slow"];
  readonly errors: ActivityReport["errors"];
  readonly repositories: ActivityReport["repositories"];
  /** Only those that are configured. */
  readonly services: readonly ServiceStats[];
  readonly queues: readonly QueueStats[];
  readonly savings: SavingsStats;
  /** Digests that are given to nobody: `count` in all, the last 20 of `blocks` in the order of GET /api/v1/blocks. */
  readonly blocked: { readonly count: number; readonly last: readonly BlockReport[] };
  readonly runtime: RuntimeStats;
}

/** A tag that names another digest than before, by the word of its upstream. */
export interface MovedTag {
  readonly at: number;
  readonly upstream: string;
  readonly repository: string;
  readonly tag: string;
  readonly from: string;
  readonly to: string;
  /** Who asked when it was noticed: a name, else an address; null: nobody waited. */
  readonly by: string | null;
}

/** What of it the verdict, and what other nodes are told, are made of. */
export type JudgedStats = Pick<
  StatsDocument,
  "at" | "node" | "upstreams" | "store" | "services" | "runtime" | "drill"
> & {
  readonly traffic: Omit<StatsDocument["traffic"], "series">;
};

/** What was saved this month, of UTC; `teams` has those that have saved most. */
export interface SavingsStats extends Pick<SavingsDocument, "month" | "currency" | "total" | "teams"> {
  /** Teams that are left out. */
  readonly more: number;
}

/** What is known here of one image; see ops/stats/explain.ts. Upstream is never asked for it. */
export type Explanation =
  | { readonly schema: 1; readonly kind: "unreadable"; readonly reference: string; readonly reason: string }
  | {
      readonly schema: 1;
      readonly kind: "explained";
      readonly at: number;
      /** As it was understood. */
      readonly upstream: string;
      readonly repository: string;
      readonly reference: string;
      /** Why it is this upstream, for people. */
      readonly chosenBy: string;
      readonly summary: string;
      /** What `docker pull` takes to get it from here; null: this upstream has no name that can stand there. */
      readonly dockerPull: string | null;
      /** Names of the nodes of the datacenter that have not said what they have: they did not answer, or cannot be asked. */
      readonly silentNodes: readonly string[];
      /** What is remembered of a tag; null for digests and unknown tags. */
      readonly tag: {
        readonly digest: string;
        readonly checkedAt: number;
        /** `fresh`: answered from here; `stale`: upstream is asked first; `expired`: never without upstream. */
        readonly state: "fresh" | "stale" | "expired";
        /** For how long it stays fresh after a check; null: for ever. */
        readonly ttlMs: number | null;
      } | null;
      /** What the nodes have seen the tag name, the first one first; empty for digests. */
      readonly stays: readonly ReportedStay[];
      /** Manifests, each before what it names; at most 500. */
      readonly parts: readonly ExplainedPart[];
      readonly truncated: boolean;
      /** What it is, or the images of an index: at most 500. */
      readonly images: readonly ExplainedImage[];
      /**
       * Every image whose manifest is here has all its parts here, and there is one. Images nobody has pulled do not count, nor
       * do attestations.
       */
      readonly whole: boolean;
      /** What a pull would fetch from upstream now: the parts of images whose manifest is here that neither are here nor coming. */
      readonly pull: {
        readonly bytes: number;
        /** False: manifests are missing, and what they name is not known, or a part does not state its size. */
        readonly complete: boolean;
        /** At the rate of what was lately fetched from that upstream; null: none was. */
        readonly durationMs: number | null;
        /** Mirrors of other datacenters that are asked before upstream, in this order; what they hold is not known here. */
        readonly siblings: readonly string[];
      };
      /** What a pull would come to if the upstream were gone. */
      readonly withoutUpstream: { readonly served: boolean; readonly why: string };
    };

export interface ExplainedImage {
  readonly digest: string;
  /** As the index says, such as `linux/amd64`. */
  readonly platform: string | null;
  /** `absent`: its manifest is not here. */
  readonly state: "whole" | "partly" | "absent";
  /** Of its config and layers, those that are not here. */
  readonly missingParts: number;
  /** Null: not known. */
  readonly missingBytes: number | null;
}

export interface ExplainedPart {
  readonly digest: string;
  readonly kind: "manifest" | "blob";
  /** 0 for what the reference names, 1 for what that names, and so on. */
  readonly depth: number;
  /** As stored, or as the manifest says. */
  readonly sizeBytes: number | null;
  readonly mediaType: string | null;
  /** `here`: stored; `coming`: a download is under way; `missing`: upstream will be asked. */
  readonly state: "here" | "coming" | "missing";
  /** What the first manifest that names it names it as; null for what the reference names. */
  readonly role: "manifest" | "config" | "layer" | null;
  /** Of an image in an index. */
  readonly platform: string | null;
  /** `memory`, `disk`, `s3`, and other nodes of the datacenter that have it: `node b`. */
  readonly where: readonly string[];
  readonly storedAt: number | null;
  readonly usedAt: number | null;
  /** When its bytes were last hashed. */
  readonly checkedAt: number | null;
  /** Whether it is known to belong to the repository asked for. */
  readonly linked: boolean;
  /** `upstream/repository` of up to 10 that are known to contain it. */
  readonly repositories: readonly string[];
  /** `upstream/repository:tag` of up to 10 that lead to it. */
  readonly tags: readonly string[];
}

/** What stands in the way of a pull without upstream; see ops/stats/readiness.ts. */
export interface Obstacle {
  /**
   * `missing`: in no store, and on no other node; `unknown`: not on the disk, and S3 or another node has not said whether it
   * has it; `damaged`: the file has another size than was verified; `unproved`: here, but only upstream can say that the
   * repository has it; `tag_expired`: upstream confirmed the tag longer ago than `tags.staleIfError` allows.
   */
  readonly kind: "missing" | "unknown" | "damaged" | "unproved" | "tag_expired";
  readonly role: "manifest" | "config" | "layer";
  readonly digest: string;
  readonly platform: string | null;
  readonly sizeBytes: number | null;
}

export interface UnreadyImage {
  readonly digest: string;
  /** `upstream/repository:tag`, or `@digest` where no tag names it; at most 10. */
  readonly names: readonly string[];
  readonly usedAt: number;
  /** At most 20. */
  readonly obstacles: readonly Obstacle[];
}

export interface Readiness {
  readonly schema: 1;
  readonly at: number;
  readonly days: number;
  /** Nodes that have said what was pulled through them, this one with them. */
  readonly nodes: number;
  /** Images pulled in these days through any of them that were looked at, and those of them that could be pulled now without upstream. */
  readonly pulled: number;
  readonly ready: number;
  /** More were pulled than are looked at. */
  readonly truncated: boolean;
  /** Nodes that did not answer, by name: what only they have, or was pulled through them alone, is not known. */
  readonly silentNodes: readonly string[];
  /** Those that could not, as far as there is room: at most 500. */
  readonly unready: readonly UnreadyImage[];
}
