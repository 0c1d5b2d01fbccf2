// What /api/v1/imports answers, for programs. Meanings stand in import-report.ts.
import { z } from "zod";
import type { BlobReport, ImportedManifest } from "./import-report.ts";

/** Strict, so that the tests see what nobody has described. */
export const importedBlobSchema = z.strictObject({
  digest: z.string(),
  here: z.boolean(),
  sizeBytes: z.number().nonnegative().nullable(),
}) satisfies z.ZodType<BlobReport>;

export const importedManifestSchema = z.strictObject({
  upstream: z.string(),
  repository: z.string(),
  digest: z.string(),
  tag: z.string().nullable(),
  offline: z.boolean(),
}) satisfies z.ZodType<ImportedManifest>;
