// The document behind /stats.json, the stats page and its stream of events. Stable: members are added, none is renamed
// or removed while `schema` is 1. Times end in `At` (milliseconds since the epoch), durations in `Ms`, sizes in `Bytes`
// (or say so); what is not known is null; shares go from 0 to 1. This file and the types it names are its reference,
// test/ops/stats/stats-document.test.ts holds them to it.
import type { ActivityReport } from "../../telemetry/recent/recent-activity.ts";
import type { RecentUpstream } from "../../telemetry/recent/recent-upstreams.ts";

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
}

export interface StoreStats {
  readonly usedBytes: number;
  readonly limitBytes: number;
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
}

/** Something this node can do without: Redis, S3. */
export interface ServiceStats {
  readonly name: string;
  readonly ok: boolean;
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
    readonly version: string;
    readonly startedAt: number;
    readonly ready: boolean;
    readonly draining: boolean;
  };
  readonly verdict: Verdict;
  readonly upstreams: readonly UpstreamStats[];
  readonly traffic: Pick<ActivityReport, "windows" | "series"> & { readonly inFlight: number };
  readonly store: StoreStats & Pick<ActivityReport, "lastStoreError"> & { readonly scrub: ScrubStats };
  readonly fills: readonly RunningFill[];
  readonly slow: ActivityReport["slow"];
  readonly errors: ActivityReport["errors"];
  readonly repositories: ActivityReport["repositories"];
  /** Only those that are configured. */
  readonly services: readonly ServiceStats[];
  readonly queues: readonly QueueStats[];
  readonly runtime: RuntimeStats;
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
      readonly summary: string;
      /** What is remembered of a tag; null for digests and unknown tags. */
      readonly tag: {
        readonly digest: string;
        readonly checkedAt: number;
        /** `fresh`: answered from here; `stale`: upstream is asked first; `expired`: never without upstream. */
        readonly state: "fresh" | "stale" | "expired";
        /** For how long it stays fresh after a check; null: for ever. */
        readonly ttlMs: number | null;
      } | null;
      /** Manifests, each before what it names; at most 500. */
      readonly parts: readonly ExplainedPart[];
      readonly truncated: boolean;
    };

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
  /** `disk`; else where it would be read from: `s3`. */
  readonly where: readonly string[];
  readonly storedAt: number | null;
  readonly usedAt: number | null;
  /** Whether it is known to belong to the repository asked for. */
  readonly linked: boolean;
  /** `upstream/repository` of up to 10 that are known to contain it. */
  readonly repositories: readonly string[];
}
