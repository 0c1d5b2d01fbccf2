// What was commanded of pins, as another node reads it. Upstreams are named as upstream-id.ts says.
import { z } from "zod";
import { parseRepository } from "../../oci/name.ts";
import { parseReference } from "../../oci/reference.ts";
import { maxCommanded, type PinCommand } from "../pins/pins.ts";
import { parsedText } from "./parsed-text.ts";

/** Members that are not known are left out. */
export const toldPinsSchema = z.object({
  pins: z
    .array(
      z.object({
        upstream: z.string().max(300),
        repository: parsedText(parseRepository),
        reference: parsedText((text) => parseReference(text) && text),
        pinned: z.boolean(),
        at: z.number().int().nonnegative().max(8.64e15),
      }),
    )
    .max(2 * maxCommanded),
}) satisfies z.ZodType<{ readonly pins: readonly PinCommand[] }>;
