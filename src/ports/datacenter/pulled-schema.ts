// Which images clients have pulled from a node, as another one reads it: a tag or digest is a text there.
import { z } from "zod";
import { parseRepository } from "../../oci/name.ts";
import { parsePlatform } from "../../oci/platform.ts";
import { parseReference, referenceText } from "../../oci/reference.ts";
import { maxPulledImages, type PulledImages } from "./nodes.ts";
import { parsedText } from "./parsed-text.ts";

/** Members that are not known are left out. */
export const pulledImagesSchema = z.object({
  images: z
    .array(
      z.object({
        upstream: z.string().max(300),
        repository: parsedText(parseRepository),
        reference: parsedText(parseReference),
        platforms: z.array(parsedText((each) => parsePlatform(each) && each)).max(20),
      }),
    )
    .max(maxPulledImages),
  leftOut: z.number().int().nonnegative(),
}) satisfies z.ZodType<PulledImages>;

/** What `pulledImagesSchema` reads. */
export function toldImages({ images, leftOut }: PulledImages): object {
  const told = images.map((image) => ({ ...image, reference: referenceText(image.reference) }));
  return { images: told, leftOut };
}
