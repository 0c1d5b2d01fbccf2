// What /api/v1/blocks takes and answers, for programs. Meanings stand in block-report.ts.
import { z } from "zod";
import { parseDigest } from "../../oci/digest.ts";
import { longestReason } from "../../ports/block/blocks.ts";
import { type BlockChange, type BlockReport, type BlocksReport, blockNodeStates } from "./block-report.ts";

const isPrintable = (text: string): boolean => !/\p{Cc}/u.test(text);

/** The body of POST. */
export const newBlockSchema = z.strictObject({
  digest: z
    .string()
    .max(140)
    .refine(
      (text) => parseDigest(text) !== undefined,
      "expected a digest, such as sha256: with 64 digits of lower-case hex",
    ),
  /** Clients are shown it. */
  reason: z
    .string()
    .trim()
    .min(1)
    .max(longestReason)
    .refine(isPrintable, "expected text without control characters"),
});

const count = z.number().nonnegative();
const text = z.string();

/** Strict, so that the tests see what nobody has described. */
export const blockSchema = z.strictObject({
  digest: text,
  reason: text,
  origin: z.enum(["command", "file"]),
  blockedAt: count.nullable(),
  node: text.nullable(),
  knownParts: count,
}) satisfies z.ZodType<BlockReport>;

export const blocksSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  blocks: z.array(blockSchema),
}) satisfies z.ZodType<BlocksReport>;

/** What POST and DELETE answer. */
export const blockChangeSchema = z.strictObject({
  schema: z.literal(1),
  digest: text,
  blocked: z.boolean(),
  reason: text,
  at: count,
  stillInFile: z.boolean(),
  nodes: z.array(z.strictObject({ name: text, self: z.boolean(), state: z.enum(blockNodeStates) })),
}) satisfies z.ZodType<BlockChange>;
