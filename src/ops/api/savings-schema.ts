// What /api/v1/savings answers, for programs. Meanings stand in telemetry/savings/savings-document.ts.
import { z } from "zod";
import type { DatacenterSavings } from "../../telemetry/savings/savings-document.ts";
import { saved } from "./stats-schema.ts";

const count = z.number().nonnegative();

/** Strict, so that the tests see what nobody has described. */
export const savingsSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  month: z.string(),
  currency: z.string().nullable(),
  total: z.strictObject(saved),
  teams: z.array(z.strictObject({ team: z.string(), ...saved })),
  rows: z.array(
    z.strictObject({
      month: z.string(),
      team: z.string(),
      upstream: z.string(),
      pricePerGB: count.nullable(),
      ...saved,
    }),
  ),
  nodes: z.array(z.strictObject({ name: z.string(), self: z.boolean(), ...saved })).max(65),
  silentNodes: z.array(z.string()).max(64),
}) satisfies z.ZodType<DatacenterSavings>;
