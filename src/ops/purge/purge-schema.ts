// What /api/v1/purge and /api/v1/refresh take and answer, for programs. Meanings stand in purge-report.ts.
import { z } from "zod";
import { roles } from "../../oci/descriptor.ts";
import { longestReference } from "../stats/image-reference.ts";
import { type PurgeReport, purgedStates, type RefreshReport, refreshedStates } from "./purge-report.ts";

const count = z.number().nonnegative();
const maybe = count.nullable();
const reference = z.string().min(1).max(longestReference);

/** Tags and parts that are listed. */
export const maxListed = 500;
export const maxNodes = 65;

/** The body of POST /api/v1/purge. */
export const newPurgeSchema = z.strictObject({
  /** `repository:tag`, `repository@digest`, a whole `repository`, or a digest alone: the image in all repositories. */
  reference,
  /** Only tells what would go. */
  dryRun: z.boolean().default(false),
  /** Deletes what pinned images need, too. */
  force: z.boolean().default(false),
});

/** The body of POST /api/v1/refresh. */
export const newRefreshSchema = z.strictObject({ reference });

const part = z.strictObject({
  digest: z.string(),
  role: z.enum(roles),
  sizeBytes: maybe,
  here: z.boolean(),
});

/** Strict, so that the tests see what nobody has described. */
export const purgeSchema = z.strictObject({
  schema: z.literal(1),
  id: z.string().nullable(),
  at: count,
  kind: z.enum(["tag", "image", "repository"]),
  upstream: z.string().nullable(),
  repository: z.string().nullable(),
  tag: z.string().nullable(),
  digest: z.string().nullable(),
  chosenBy: z.string().nullable(),
  tags: z
    .array(
      z.strictObject({
        upstream: z.string(),
        repository: z.string(),
        tag: z.string(),
        digest: z.string().nullable(),
      }),
    )
    .max(maxListed),
  goes: z.array(part).max(maxListed),
  stays: z.array(part.extend({ why: z.string() })).max(maxListed),
  sums: z.strictObject({
    tags: count,
    images: count,
    layers: count,
    bytes: count,
    staysParts: count,
    staysBytes: count,
  }),
  truncated: z.boolean(),
  pinnedBy: z.array(z.string()).max(10),
  s3: z.boolean(),
  nodes: z
    .array(
      z.strictObject({
        name: z.string(),
        self: z.boolean(),
        state: z.enum(purgedStates),
        parts: maybe,
        bytes: maybe,
      }),
    )
    .max(maxNodes),
}) satisfies z.ZodType<PurgeReport>;

export const refreshSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  upstream: z.string(),
  repository: z.string(),
  reference: z.string(),
  chosenBy: z.string(),
  nodes: z
    .array(
      z.strictObject({
        name: z.string(),
        self: z.boolean(),
        state: z.enum(refreshedStates),
        was: z.string().nullable(),
        is: z.string().nullable(),
        checked: count,
        wrong: count,
        bytes: count,
        problem: z.string().nullable(),
      }),
    )
    .max(maxNodes),
}) satisfies z.ZodType<RefreshReport>;
