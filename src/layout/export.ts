// Images of a registry as an OCI image layout.
import type { Digest } from "../oci/digest.ts";
import type { Pause } from "../ports/clock.ts";
import { downloadedBytes } from "./blob-download.ts";
import type { ExportPlan } from "./export-plan.ts";
import type { LayoutWriter } from "./layout-writer.ts";
import { verifiedBytes } from "./verified-bytes.ts";

export interface ExportOptions {
  readonly pause: Pause;
  readonly signal: AbortSignal;
  /** So many bytes are in the layout now. */
  readonly progress: (bytes: number) => void;
}

export interface Exported {
  /** Blobs and manifests that were written, and those that were there. */
  readonly written: number;
  readonly kept: number;
  /** Bytes of blobs that came from the registry. */
  readonly fetchedBytes: number;
}

/**
 * Writes everything of the plan. Rejects with UpstreamError, LayoutError, the system's errors and the signal's reason; what was
 * written by then stays for the next try.
 */
export async function writeLayout(
  plan: ExportPlan,
  writer: LayoutWriter,
  { pause, signal, progress }: ExportOptions,
): Promise<Exported> {
  let [written, kept, fetchedBytes, bytes] = [0, 0, 0, 0];
  const put = async (digest: Digest, size: number, open: () => AsyncIterable<Buffer>): Promise<void> => {
    signal.throwIfAborted();
    if (await writer.has(digest, size)) {
      kept++;
      bytes += size;
      progress(bytes);
      return;
    }
    await writer.write(digest, size, counted(verifiedBytes(digest, size, open())));
    written++;
  };
  async function* counted(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      progress(bytes);
      yield chunk;
    }
  }
  async function* fetched(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      fetchedBytes += chunk.length;
      yield chunk;
    }
  }
  try {
    await writer.begin(plan.descriptors);
    for (const [digest, { body }] of plan.manifests)
      await put(digest, body.length, async function* () {
        yield body;
      });
    // The empty config of an artifact may be a manifest as well.
    for (const blob of plan.blobs.values())
      if (!plan.manifests.has(blob.digest))
        await put(blob.digest, blob.size, () => fetched(downloadedBytes(blob, pause, signal)));
    await writer.finish();
  } finally {
    await writer.close();
  }
  return { written, kept, fetchedBytes };
}
