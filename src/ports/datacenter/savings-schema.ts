// A node's ledger as another one reads it.
import { z } from "zod";
import { maxSavingsRows, type NodeSavings } from "./savings.ts";

const count = z.number().nonnegative();

/** Members that are not known are left out. */
export const nodeSavingsSchema = z.object({
  currency: z.string().max(64).nullable(),
  rows: z
    .array(
      z
        .object({
          month: z.string().regex(/^\d{4}-\d{2}$/),
          team: z.string().max(255),
          upstream: z.string().max(255),
          requests: count,
          roundTripsSaved: count,
          sentBytes: count,
          fetchedBytes: count,
          pricePerGB: count.optional(),
        })
        // What has no price has no such member.
        .transform(({ pricePerGB, ...row }) => ({ ...row, pricePerGB })),
    )
    .max(maxSavingsRows),
}) satisfies z.ZodType<NodeSavings>;
