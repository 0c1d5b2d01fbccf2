// What /api/v1/jobs takes and answers, for programs. Meanings stand in job-report.ts.
import { z } from "zod";
import { parsePlatform } from "../../oci/platform.ts";
import { jobOrigins, jobResults } from "../../ports/event.ts";
import { longestReference } from "../stats/image-reference.ts";
import { type JobReport, type JobSummary, jobStates } from "./job-report.ts";
import { maxImages } from "./jobs.ts";

const maxPlatforms = 20;

/** The body of POST. */
export const newJobSchema = z
  .strictObject({
    /** References as clients pull them, `[upstream/]repository:tag` or `@digest`, also with the name of the registry before it. */
    images: z.array(z.string().min(1).max(longestReference)).min(1).max(maxImages).optional(),
    /** Instead: another node of the datacenter, whose clients have pulled the images. */
    fromNode: z.string().min(1).max(128).optional(),
    /** How many days ago they did at most; 7 when left out. */
    days: z.number().int().min(1).max(365).optional(),
    /** As in `linux/amd64`, `linux/arm64/v8`; all of an index when there are none. */
    platforms: z
      .array(
        z
          .string()
          .refine((text) => parsePlatform(text) !== undefined, "expected a platform such as linux/amd64"),
      )
      .max(maxPlatforms)
      .default([]),
    /** At least 65,536; left out: as fast as the upstream sends. */
    bytesPerSecond: z.number().int().min(65_536).optional(),
  })
  .refine(
    ({ images, fromNode }) => (images === undefined) !== (fromNode === undefined),
    "expected either images or fromNode",
  )
  .refine(({ days, fromNode }) => days === undefined || fromNode !== undefined, {
    path: ["days"],
    message: "expected fromNode as well",
  });

const count = z.number().nonnegative();
const maybe = count.nullable();
const text = z.string();

const summary = {
  id: text,
  origin: z.enum(jobOrigins),
  state: z.enum(jobStates),
  createdAt: count,
  startedAt: maybe,
  endedAt: maybe,
  platforms: z.array(text),
  bytesPerSecond: maybe,
  sums: z.strictObject({
    images: count,
    imagesDone: count,
    imagesFailed: count,
    parts: count,
    partsHere: count,
    sizeBytes: count,
    hereBytes: count,
    fetchedBytes: count,
    retries: count,
    imagesLeftOut: count,
  }),
  failures: z.array(z.strictObject({ image: text, part: text, reason: text })).max(5),
};

/** Strict, so that the tests see what nobody has described. */
export const jobsSchema = z.strictObject({
  jobs: z.array(z.strictObject(summary)),
}) satisfies z.ZodType<{ jobs: readonly JobSummary[] }>;

export const jobSchema = z.strictObject({
  ...summary,
  images: z.array(
    z.strictObject({
      image: text,
      state: z.enum(["queued", "running", ...jobResults]),
      upstream: text.nullable(),
      repository: text.nullable(),
      digest: text.nullable(),
      parts: count,
      partsHere: count,
      sizeBytes: count,
      hereBytes: count,
      fetchedBytes: count,
      durationMs: maybe,
      retries: count,
      transfers: z.array(z.strictObject({ digest: text, receivedBytes: count, sizeBytes: maybe })).max(8),
      failures: z.array(z.strictObject({ part: text, reason: text })).max(5),
      failed: count,
    }),
  ),
}) satisfies z.ZodType<JobReport>;
