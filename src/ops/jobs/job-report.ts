// What is told of a job, for people and programs. Members are added, none is renamed or removed. Times end in At and are
// milliseconds since the epoch, sizes in Bytes; what is not known is null.
import type { JobOrigin, JobResult } from "../../ports/event.ts";

export const jobStates = ["queued", "running", "done", "failed", "cancelled"] as const;
/** `done`: all of it is here; `failed`: something is not, or was left out. */
export type JobState = (typeof jobStates)[number];

export interface JobSums {
  readonly images: number;
  /** Of the images: those of which everything is here, and those of which something failed. */
  readonly imagesDone: number;
  readonly imagesFailed: number;
  /** Known so far: manifests, configs and layers. A part that two images have counts for each. */
  readonly parts: number;
  readonly partsHere: number;
  /** Of the parts whose size is known. */
  readonly sizeBytes: number;
  /** Of these, what is here, running downloads with it. */
  readonly hereBytes: number;
  /** Came because of the job. */
  readonly fetchedBytes: number;
  readonly retries: number;
  /** Asked for beyond the 1,000 images of one job, and not fetched; none of `images`. */
  readonly imagesLeftOut: number;
}

/** A job without its images. */
export interface JobSummary {
  readonly id: string;
  readonly origin: JobOrigin;
  readonly state: JobState;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** As in `linux/amd64`; none: all. */
  readonly platforms: readonly string[];
  readonly bytesPerSecond: number | null;
  readonly sums: JobSums;
  /** The first failures of all images, at most 5. */
  readonly failures: readonly JobFailure[];
}

export interface JobFailure {
  readonly image: string;
  /** What of it: a digest, a tag, `referrers of` a digest. */
  readonly part: string;
  readonly reason: string;
}

/** A part that is being fetched. */
export interface JobTransfer {
  readonly digest: string;
  readonly receivedBytes: number;
  readonly sizeBytes: number | null;
}

export interface JobImage {
  /** As it was asked for. */
  readonly image: string;
  readonly state: "queued" | "running" | JobResult;
  readonly upstream: string | null;
  /** By the name it has there. */
  readonly repository: string | null;
  readonly digest: string | null;
  readonly parts: number;
  readonly partsHere: number;
  readonly sizeBytes: number;
  readonly hereBytes: number;
  readonly fetchedBytes: number;
  readonly durationMs: number | null;
  readonly retries: number;
  /** Under way, at most 8. */
  readonly transfers: readonly JobTransfer[];
  /** At most 5. */
  readonly failures: readonly Omit<JobFailure, "image">[];
  /** All that failed. */
  readonly failed: number;
}

export interface JobReport extends JobSummary {
  readonly images: readonly JobImage[];
}
