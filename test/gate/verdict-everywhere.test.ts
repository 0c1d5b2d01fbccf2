// That no part of the program gives out stored bytes, or what upstream sends, without a verdict: those that open them are few, and
// each is named here with who asks the verdict for it.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { codeOf } from "../fixtures/source-scan.ts";

const src = join(import.meta.dirname, "../../src");

/** Who opens stored bytes. A file that is added here has to ask a verdict for what it gives out, or to give out nothing. */
const openers = [
  // Through the cache, as clients do.
  "app/images/refresh.ts",
  "cache/prefetch/prefetch.ts",
  "cache/refetch.ts",
  "cache/warm/image-warmer.ts",
  "http/blob-handler.ts",
  // The cache itself, which asks for all that is opened.
  "cache/blob-cache.ts",
  "cache/fill/source.ts",
  "cache/local-blobs.ts",
  "cache/manifest-source.ts",
  // To hash it, to store it in S3, to tell what a manifest names, to see whether it is here.
  "cache/blob-checks.ts",
  "cache/imports/image-import.ts",
  "cache/sharing/publisher.ts",
  "ops/stats/explain.ts",
  // What the primary has granted, until it says that something is blocked.
  "workers/answering.ts",
  "workers/worker.ts",
].toSorted();

/** Who asks a registry for content. */
const askers = [
  "cache/fill/fills.ts",
  "cache/fill/source.ts",
  "cache/manifest-source.ts",
  // What a caller may, and what is wrong with a registry: nothing of it is given on.
  "doctor/upstream.ts",
  "http/proof.ts",
  // entrepot export, which asks a running mirror as any client.
  "layout/blob-download.ts",
  "layout/export-plan.ts",
].toSorted();

/** Files whose code says so, outside of what makes the stores and upstreams real. */
function filesWith(pattern: RegExp, ...besides: readonly string[]): readonly string[] {
  return readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !besides.some((folder) => path.startsWith(folder)))
    .filter((path) => pattern.test(codeOf(readFileSync(join(src, path), "utf8"))))
    .toSorted();
}

t.test("stored bytes are opened where a verdict is asked, or where nobody outside gets them", (t) => {
  t.same(filesWith(/\b(?:store|files|local|blobs)\??\.open\(/, "storage/"), openers);
  t.end();
});

t.test("upstream's manifests and blobs come through the cache alone", (t) => {
  t.same(filesWith(/\.(?:openBlob|getManifest)\(/, "upstream/"), askers);
  t.end();
});

t.test("whoever opens something for others asks the verdict", (t) => {
  for (const file of ["cache/blob-cache.ts", "cache/manifests.ts", "cache/listings.ts"])
    t.match(readFileSync(join(src, file), "utf8"), /verdicts\.any/, file);
  t.end();
});
