// What /api/v1/node and /api/v1/datacenter answer, for programs. Meanings stand in ports/datacenter/nodes.ts and
// ops/stats/datacenter.ts.
import { z } from "zod";
import { nodeSummarySchema, storeSchema, sumsSchema } from "../../ports/datacenter/summary-schema.ts";
import { type DatacenterDocument, rowStates } from "../stats/datacenter.ts";

const count = z.number().nonnegative();

export const nodeSchema = nodeSummarySchema.strict();

/** Strict, so that the tests see what nobody has described. */
export const datacenterSchema = z.strictObject({
  at: count,
  nodes: z.array(
    z.strictObject({
      ...nodeSummarySchema.shape,
      state: z.enum(rowStates),
      self: z.boolean(),
      heardAt: count,
      unreachableSince: count.nullable(),
    }),
  ),
  totals: z.strictObject({
    nodes: count,
    unreachable: count,
    inFlight: count,
    lastHour: sumsSchema,
    sinceStart: sumsSchema,
    store: storeSchema,
  }),
}) satisfies z.ZodType<DatacenterDocument>;
