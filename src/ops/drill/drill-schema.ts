// What /api/v1/drill takes and answers, for programs.
import { z } from "zod";
import {
  type DrillAnswer,
  type DrillRecord,
  longestDrill,
  maxDrillNetworks,
} from "../../ports/datacenter/drill.ts";
import { Networks } from "../../ports/networks.ts";

const network = z.string().max(60).refine(isNetwork, "expected an address or a network such as 10.0.0.0/8");

/** The body of POST. */
export const newDrillSchema = z.strictObject({
  /** Addresses and networks of clients, such as 10.1.2.0/24. */
  clients: z.array(network).min(1).max(maxDrillNetworks),
  /** From a second to an hour. */
  durationMs: z.number().int().min(1_000).max(longestDrill),
});

/** Of the drill that is on. */
export const drillRecordSchema = z.strictObject({
  clients: z.array(z.string()).max(maxDrillNetworks),
  startedAt: z.number().nonnegative(),
  endsAt: z.number().nonnegative(),
  changedAt: z.number().nonnegative(),
  node: z.string(),
}) satisfies z.ZodType<DrillRecord>;

export const drillSchema = z.strictObject({
  drill: drillRecordSchema.nullable(),
}) satisfies z.ZodType<DrillAnswer>;

function isNetwork(text: string): boolean {
  try {
    return new Networks([text]) !== undefined;
  } catch {
    return false;
  }
}
