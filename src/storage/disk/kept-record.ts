// The file beside a kept spool, which says in JSON of which blob the spool has the first bytes. A crash may have torn
// either file, so a record counts only when it is whole and the spool has exactly the bytes it states. The fill that
// resumes the spool checks their hash.
import { open, stat } from "node:fs/promises";
import { z } from "zod";
import { parseDigest } from "../../oci/digest.ts";
import type { KeptRecord } from "../../ports/blobs.ts";

/** Bytes of a record at most. */
const maxRecordSize = 4 * 1024;

export interface KeptSpool {
  readonly record: KeptRecord & { readonly at: number };
  /** Bytes of the spool file. */
  readonly offset: number;
}

const shape = z.strictObject({
  digest: z.string(),
  upstream: z.string(),
  size: z.int().positive(),
  hash: z.string(),
  at: z.int(),
  offset: z.int().positive(),
});

export function writeKeptSpool({ record, offset }: KeptSpool): string {
  return JSON.stringify({ ...record, offset });
}

/** Undefined when the file is no record of that spool file, or cannot be read. */
export async function readKeptSpool(record: string, spool: string): Promise<KeptSpool | undefined> {
  try {
    const text = await readStart(record);
    const { offset, ...stated } = shape.parse(JSON.parse(text));
    const digest = parseDigest(stated.digest);
    const stats = await stat(spool);
    if (digest === undefined || !stats.isFile() || stats.size !== offset || offset >= stated.size)
      return undefined;
    return { record: { ...stated, digest }, offset };
  } catch {
    return undefined;
  }
}

async function readStart(path: string): Promise<string> {
  const handle = await open(path, "r");
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(maxRecordSize), 0, maxRecordSize, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
