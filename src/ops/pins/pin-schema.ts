// What /api/v1/pins takes and answers, for programs. Meanings stand in pin-report.ts.
import { z } from "zod";
import { pinOrigins, pinStates } from "../../ports/pins/pins.ts";
import { longestReference } from "../stats/image-reference.ts";
import type { PinReport, PinsReport, UnpinnedReport } from "./pin-report.ts";

/** The body of POST. */
export const newPinSchema = z.strictObject({
  /** A reference as clients pull it, `[upstream/]repository:tag` or `@digest`, also with the name of the registry before it. */
  image: z.string().min(1).max(longestReference),
});

const count = z.number().nonnegative();
const text = z.string();

/** Strict, so that the tests see what nobody has described. */
export const pinSchema = z.strictObject({
  image: text,
  upstream: text,
  repository: text,
  reference: text,
  origin: z.enum(pinOrigins),
  pinnedAt: count.nullable(),
  state: z.enum(pinStates),
  digest: text.nullable(),
  parts: count,
  sizeBytes: count,
  hereBytes: count,
  reason: text.nullable(),
}) satisfies z.ZodType<PinReport>;

export const pinsSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  budgetBytes: count,
  heldBytes: count,
  neededBytes: count,
  leftOut: count,
  pins: z.array(pinSchema),
}) satisfies z.ZodType<PinsReport>;

/** What DELETE answers. */
export const unpinnedSchema = z.strictObject({
  image: text,
  stillConfigured: z.boolean(),
}) satisfies z.ZodType<UnpinnedReport>;
