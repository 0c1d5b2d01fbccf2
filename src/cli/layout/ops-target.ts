// A running mirror that is brought images, through its ops listener (/api/v1/imports).
import type { ImportTarget, TakenManifest } from "../../layout/import.ts";
import type { BlobReport, ImportedManifest } from "../../ops/imports/import-report.ts";
import { askOps, type OpsPlace, uploadToOps } from "../ops-place.ts";

const root = "/api/v1/imports";

/** Milliseconds for the word whether a blob is here: its bytes may have to be hashed for it. */
const patience = 300_000;

export function opsTarget(place: OpsPlace, signal: AbortSignal): ImportTarget {
  return {
    async here(digest) {
      const answer = (await askOps(
        place,
        `${root}/blobs/${digest}`,
        patience,
        undefined,
        signal,
      )) as BlobReport;
      return answer.here;
    },
    async blob(digest, size, bytes) {
      const type = "application/octet-stream";
      await uploadToOps(place, `${root}/blobs/${digest}`, { type, size, bytes }, signal);
    },
    async manifest({ upstream, repository, tag }, digest, type, body): Promise<TakenManifest> {
      const query = new URLSearchParams({ upstream, repository, ...(tag === undefined ? {} : { tag }) });
      const upload = { type, size: body.length, bytes: oneChunk(body) };
      return (await uploadToOps(
        place,
        `${root}/manifests/${digest}?${query}`,
        upload,
        signal,
      )) as ImportedManifest;
    },
  };
}

/** For `--dry-run`: nothing is asked, and nothing is taken; everything is read and checked. */
export const noTarget: ImportTarget = {
  here: async () => true,
  blob: async () => {},
  manifest: async ({ upstream, repository }) => ({ upstream, repository, offline: false }),
};

async function* oneChunk(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}
