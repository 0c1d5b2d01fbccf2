// Which images clients have pulled through a node, and what they are made of, as another node of the datacenter is told of it.
import { z } from "zod";
import { roles } from "../../oci/descriptor.ts";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { parsedText } from "./parsed-text.ts";

/** Parts in one page, after which it ends with the image they belong to; and of one image, at most. */
export const maxPageParts = 1_500;
export const maxImageParts = 2_000;
/** Of one image: names, images of its index that are not here, and parts without a proof that are named. */
export const maxImageNames = 10;
export const maxImageChildren = 500;
export const maxUnproved = 50;

const digest = parsedText(parseDigest);
const count = z.number().nonnegative();
const platform = z.string().max(255).nullable();

const imageSchema = z.object({
  digest,
  /** When it was pulled last, in milliseconds since the epoch by that node's clock. */
  usedAt: count,
  /** How clients call it there. */
  names: z
    .array(
      z.object({
        /** `upstream/repository:tag`, or `@digest` where no tag names it. */
        text: z.string().max(1_000),
        /** The tag was confirmed too long ago to be served without upstream. */
        expired: z.boolean(),
        /** Parts that the repository is not known to have there. */
        unproved: z.array(digest).max(maxUnproved).readonly(),
      }),
    )
    .max(maxImageNames)
    .readonly(),
  /** The manifest, those of the platforms that were pulled, their configs and layers, and referrers that were pulled. */
  parts: z
    .array(z.object({ digest, role: z.enum(roles), size: count.nullable(), platform }))
    .max(maxImageParts)
    .readonly(),
  /** Images of its index whose manifests are not there: another node may have given them. */
  children: z.array(z.object({ digest, platform })).max(maxImageChildren).readonly(),
  /** None of the index's images is there: at least one of `children` belongs to it. */
  needsChild: z.boolean(),
});

const pageSchema = z.object({
  images: z.array(imageSchema).max(500).readonly(),
  /** The last manifest that was looked at; null after the last page. */
  next: z.object({ digest, size: count, usedAt: count }).nullable(),
});

/** Where a page of manifests, in the order of their last uses, ends and the next one begins. */
export interface PageEnd {
  readonly digest: Digest;
  readonly size: number;
  readonly usedAt: number;
}

export type ReportedImage = Readonly<z.infer<typeof imageSchema>>;
export type ReportedPage = Readonly<z.infer<typeof pageSchema>>;
export type ReportedPart = ReportedImage["parts"][number];

/** Undefined for what is no page. */
export function readReportedPage(value: unknown): ReportedPage | undefined {
  return pageSchema.safeParse(value).data;
}
