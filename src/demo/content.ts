// What the demo's registry answers to a request target: pure, no sockets. Manifests by tag or digest, blobs with
// ranges, tag lists; everything else is an OCI error.
import type { Digest } from "../oci/digest.ts";
import type { OciErrorCode } from "../oci/error.ts";
import { etagOf } from "../oci/etag.ts";
import { contentRange, parseRange, unsatisfiedRange } from "../oci/range.ts";
import { type Page, parseTarget, type Route } from "../oci/route.ts";
import type { SampleRepository } from "./sample-images.ts";

/** What stands before `/v2/`: where Artifactory serves its Docker repository `docker-local`. */
export const upstreamPath = "artifactory/api/docker/docker-local";

/** An answer: a body to send as it is, or an error to word as OCI JSON. */
export type Content =
  | {
      readonly status: 200 | 206 | 416;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: Buffer;
    }
  | { readonly status: 401 | 404 | 405; readonly code: OciErrorCode; readonly message: string };

/** `target` is the raw request target, `range` the Range header. Unknown paths and names are 404, other methods 405. */
export function findContent(
  method: string,
  target: string,
  range: string | undefined,
  repositories: ReadonlyMap<string, SampleRepository>,
): Content {
  if (method !== "GET" && method !== "HEAD") {
    return { status: 405, code: "UNSUPPORTED", message: "this registry only answers GET and HEAD" };
  }
  const route = parseTarget(target);
  if (typeof route === "string" || route.prefix !== upstreamPath) {
    return { status: 404, code: "NAME_UNKNOWN", message: "no such path" };
  }
  if (route.kind === "ping") return json({});
  const repository = "repository" in route ? repositories.get(route.repository) : undefined;
  if (repository === undefined) return { status: 404, code: "NAME_UNKNOWN", message: "no such repository" };
  return findInRepository(route, repository, method === "GET" ? range : undefined);
}

function findInRepository(route: Route, repository: SampleRepository, range: string | undefined): Content {
  if (route.kind === "manifest") {
    const { reference } = route;
    const digest = reference.kind === "digest" ? reference.digest : repository.tags.get(reference.tag);
    const manifest = digest && repository.manifests.get(digest);
    if (!manifest) return { status: 404, code: "MANIFEST_UNKNOWN", message: "no such manifest" };
    const headers = { "content-type": manifest.mediaType, ...digestHeaders(digest) };
    return { status: 200, headers, body: manifest.body };
  }
  if (route.kind === "blob") {
    const blob = repository.blobs.get(route.digest);
    if (!blob) return { status: 404, code: "BLOB_UNKNOWN", message: "no such blob" };
    return blobContent(blob, route.digest, range);
  }
  if (route.kind === "tags") return tagList(repository, route.page);
  return { status: 404, code: "UNSUPPORTED", message: "not part of this registry" };
}

function digestHeaders(digest: Digest): Record<string, string> {
  return { "docker-content-digest": digest, etag: etagOf(digest) };
}

/** One range is honoured; several, or none we understand, give the whole blob. */
function blobContent(blob: Buffer, digest: Digest, range: string | undefined): Content {
  const headers = {
    "content-type": "application/octet-stream",
    "accept-ranges": "bytes",
    ...digestHeaders(digest),
  };
  const asked = parseRange(range, blob.length);
  if (asked.kind === "unsatisfiable") {
    const unsatisfied = { ...headers, "content-range": unsatisfiedRange(blob.length) };
    return { status: 416, headers: unsatisfied, body: Buffer.alloc(0) };
  }
  const only = asked.kind === "ranges" && !asked.multipart ? asked.ranges[0] : undefined;
  if (only === undefined) return { status: 200, headers, body: blob };
  const { start, end } = only;
  const partial = { ...headers, "content-range": contentRange(start, end, blob.length) };
  return { status: 206, headers: partial, body: blob.subarray(start, end + 1) };
}

/** Tags in ASCII order after `last`, `n` of them, with a Link to the next page (distribution-spec, "Listing Tags"). */
function tagList(repository: SampleRepository, { n, last = "" }: Page): Content {
  const following = [...repository.tags.keys()].sort().filter((tag) => tag > last);
  const tags = following.slice(0, n ?? following.length);
  const content = json({ name: repository.name, tags });
  const next = tags.at(-1);
  if (next === undefined || tags.length === following.length) return content;
  const target = `/${upstreamPath}/v2/${repository.name}/tags/list?n=${n}&last=${next}`;
  return { ...content, headers: { ...content.headers, link: `<${target}>; rel="next"` } };
}

function json(content: object): Extract<Content, { body: Buffer }> {
  const headers = { "content-type": "application/json" };
  return { status: 200, headers, body: Buffer.from(JSON.stringify(content)) };
}
