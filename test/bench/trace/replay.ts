// Clients that ask for what a trace has, in its order.
import { Pool } from "undici";
import type { Asked } from "./trace-content.ts";

export interface Replayed {
  /** Milliseconds from each request to the first byte of its answer, in ascending order. */
  readonly firstByteMs: Float64Array;
  /** Of all answers to requests for blobs. */
  readonly blobBytes: number;
}

/** Distribution gives an OCI manifest only to who names its type. */
const accept = "application/vnd.oci.image.manifest.v1+json, */*";

/** Requests at once. */
const connections = 16;

/**
 * Asks for everything in order, so many at once. Rejects when an answer is not 200 or not of the size it should have.
 * `pause` is waited for before each part of `parts` equal ones.
 */
export async function replay(
  base: URL,
  asked: readonly Asked[],
  { parts = 1, pause }: { readonly parts?: number; readonly pause?: () => Promise<void> } = {},
): Promise<Replayed> {
  await using pool = disposable(new Pool(base.origin, { connections, pipelining: 1 }));
  const firstByteMs = new Float64Array(asked.length);
  let blobBytes = 0;
  const length = Math.ceil(asked.length / parts);
  for (let start = 0; start < asked.length; start += length) {
    await pause?.();
    const end = Math.min(asked.length, start + length);
    let next = start;
    const client = async (): Promise<void> => {
      for (let at = next++; at < end; at = next++) {
        const request = asked[at] as Asked;
        const { firstByte, bytes } = await ask(pool.pool, request);
        firstByteMs[at] = firstByte;
        if (request.kind === "blob") blobBytes += bytes;
      }
    };
    await Promise.all(Array.from({ length: connections }, client));
  }
  return { firstByteMs: firstByteMs.sort(), blobBytes };
}

/** Milliseconds to the first byte, and the bytes there were. */
async function ask(pool: Pool, { path, size }: Asked): Promise<{ firstByte: number; bytes: number }> {
  const start = performance.now();
  const { statusCode, body } = await pool.request({ path, method: "GET", headers: { accept } });
  const firstByte = performance.now() - start;
  let bytes = 0;
  for await (const chunk of body) bytes += (chunk as Buffer).length;
  if (statusCode !== 200) throw new Error(`${path}: status ${statusCode}`);
  if (size !== undefined && bytes !== size) throw new Error(`${path}: ${bytes} bytes, not ${size}`);
  return { firstByte, bytes };
}

function disposable(pool: Pool): AsyncDisposable & { readonly pool: Pool } {
  return { pool, [Symbol.asyncDispose]: () => pool.destroy() };
}
