// What /api/v1/history answers, for programs. Meanings stand in tag-report.ts.
import { z } from "zod";
import { stayEnds } from "../../ports/history/tag-history.ts";
import type { ReportedStay, TagReport } from "./tag-report.ts";

const time = z.number().nonnegative();

/** Strict, so that the tests see what nobody has described. */
export const staySchema = z.strictObject({
  digest: z.string(),
  firstSeenAt: time,
  by: z.string().nullable(),
  endedAt: time.nullable(),
  ended: z.enum(stayEnds).nullable(),
  nodes: z.array(z.string()).max(65),
}) satisfies z.ZodType<ReportedStay>;

export const tagReportSchema = z.strictObject({
  schema: z.literal(1),
  at: time,
  upstream: z.string(),
  repository: z.string(),
  tag: z.string(),
  stays: z.array(staySchema),
  silentNodes: z.array(z.string()).max(64),
}) satisfies z.ZodType<TagReport>;
