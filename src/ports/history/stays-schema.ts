// What another node has seen of a tag, as this one reads it.
import { z } from "zod";
import { parseDigest } from "../../oci/digest.ts";
import { parsedText } from "../datacenter/parsed-text.ts";
import { maxStaysOfTag, stayEnds, type TagStay } from "./tag-history.ts";

const time = z.number().nonnegative();

/** Members that are not known are left out. */
export const toldStaysSchema = z.object({
  stays: z
    .array(
      z
        .object({
          digest: parsedText(parseDigest),
          firstSeen: time,
          by: z.string().max(255).optional(),
          lastSeen: time.optional(),
          end: z.object({ at: time, why: z.enum(stayEnds) }).optional(),
        })
        // What is not said has no such member.
        .transform(({ by, end, ...stay }): TagStay => ({ ...stay, by, end })),
    )
    .max(maxStaysOfTag),
});
