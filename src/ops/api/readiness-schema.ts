// What /api/v1/readiness answers, for programs. Meanings stand in ops/stats/stats-document.ts.
import { z } from "zod";
import { roles } from "../../oci/descriptor.ts";
import type { Readiness } from "../stats/stats-document.ts";

const count = z.number().nonnegative();

const obstacle = z.strictObject({
  kind: z.enum(["missing", "unknown", "damaged", "unproved", "tag_expired"]),
  role: z.enum(roles),
  digest: z.string(),
  platform: z.string().nullable(),
  sizeBytes: count.nullable(),
});

/** Of a Readiness. Strict, so that the tests see what nobody has described. */
export const readinessSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  days: count,
  nodes: count,
  pulled: count,
  ready: count,
  truncated: z.boolean(),
  silentNodes: z.array(z.string()),
  unready: z
    .array(
      z.strictObject({
        digest: z.string(),
        names: z.array(z.string()).max(10),
        usedAt: count,
        obstacles: z.array(obstacle).max(20),
      }),
    )
    .max(500),
}) satisfies z.ZodType<Readiness>;
