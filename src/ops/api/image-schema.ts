// What /api/v1/why answers, for programs. Meanings stand in ops/stats/stats-document.ts.
import { z } from "zod";
import { roles } from "../../oci/descriptor.ts";
import { staySchema } from "../history/tag-report-schema.ts";
import type { Explanation } from "../stats/stats-document.ts";

const maybe = z.number().nonnegative().nullable();

const part = z.strictObject({
  digest: z.string(),
  kind: z.enum(["manifest", "blob"]),
  depth: z.number().nonnegative(),
  role: z.enum(roles).nullable(),
  platform: z.string().nullable(),
  sizeBytes: maybe,
  mediaType: z.string().nullable(),
  state: z.enum(["here", "coming", "missing"]),
  where: z.array(z.string()),
  storedAt: maybe,
  usedAt: maybe,
  checkedAt: maybe,
  linked: z.boolean(),
  repositories: z.array(z.string()).max(10),
  tags: z.array(z.string()).max(10),
});

const image = z.strictObject({
  digest: z.string(),
  platform: z.string().nullable(),
  state: z.enum(["whole", "partly", "absent"]),
  missingParts: z.number().nonnegative(),
  missingBytes: maybe,
});

/** Of an Explanation of a reference that could be read. Strict, so that the tests see what nobody has described. */
export const imageSchema = z.strictObject({
  schema: z.literal(1),
  kind: z.literal("explained"),
  at: z.number(),
  upstream: z.string(),
  repository: z.string(),
  reference: z.string(),
  chosenBy: z.string(),
  summary: z.string(),
  dockerPull: z.string().nullable(),
  silentNodes: z.array(z.string()).max(64),
  tag: z
    .strictObject({
      digest: z.string(),
      checkedAt: z.number(),
      state: z.enum(["fresh", "stale", "expired"]),
      ttlMs: maybe,
    })
    .nullable(),
  stays: z.array(staySchema),
  parts: z.array(part).max(500),
  truncated: z.boolean(),
  images: z.array(image).max(500),
  whole: z.boolean(),
  pull: z.strictObject({
    bytes: z.number().nonnegative(),
    complete: z.boolean(),
    durationMs: maybe,
    siblings: z.array(z.string()).max(8),
  }),
  withoutUpstream: z.strictObject({ served: z.boolean(), why: z.string() }),
}) satisfies z.ZodType<Extract<Explanation, { kind: "explained" }>>;
