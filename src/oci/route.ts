// The grammar of request targets (distribution-spec, "Endpoints"), from the raw request line.
// A path is decoded once and then has to be in the grammar; nothing is normalised or guessed. What is stored, asked for
// and fetched is made of the parsed parts, so it is always the same (docs/design.md, rule 5).
import { type Digest, parseDigest } from "./digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "./name.ts";
import { parseReference, type Reference } from "./reference.ts";
import { parseUpload, type Upload } from "./upload.ts";

/** Page arguments of a listing. `n` is undefined when the client did not ask for a page size. */
export interface Page {
  readonly n: number | undefined;
  readonly last: string | undefined;
}

/** What a request asks for. `prefix` is the path before `/v2`, without slashes at its ends, "" when there is none. */
export type Route = { readonly prefix: string; readonly ns: string | undefined } & (
  | { readonly kind: "ping" }
  | {
      readonly kind: "manifest";
      readonly repository: Repository;
      readonly reference: Reference;
      /** Tags a push by digest is to give it (distribution-spec, "Pushing Manifests with Tags"); left out: none. */
      readonly tags?: readonly Tag[];
    }
  | { readonly kind: "blob"; readonly repository: Repository; readonly digest: Digest }
  | { readonly kind: "tags"; readonly repository: Repository; readonly page: Page }
  | {
      readonly kind: "referrers";
      readonly repository: Repository;
      readonly digest: Digest;
      readonly artifactType: string | undefined;
    }
  | { readonly kind: "upload"; readonly repository: Repository; readonly upload: Upload }
  | { readonly kind: "catalog"; readonly page: Page }
);

/** Why a target is no route. `bad_path`: not a path this server may ever look at (answer 400). */
export type RouteProblem =
  | "bad_path"
  | "bad_name"
  | "bad_reference"
  | "bad_digest"
  | "bad_page"
  | "bad_upload"
  | "unknown";

/** Longest target read; longer is `bad_path`. Name 255 + digest 135 + endpoint words + query fits many times. */
export const maxTargetLength = 4096;

/** Largest page asked for; a larger `n` is read as this one, so that no registry allocates for it (CVE-2023-2253). */
const maxPageSize = 100_000;

/**
 * Every path character we accept, decoded: the grammar of names, tags and digests plus `/`. Percent signs are refused,
 * and so are backslashes, semicolons, and anything above ASCII: none stands in a legal name.
 */
const pathGrammar = /^(?:\/[A-Za-z0-9._:+=~@-]+)+\/?$/;
const dotComponent = /\/\.{1,2}(?:\/|$)/;
/**
 * Escapes that no client needs and that gateways in front of a mirror may read in another way: dots, and slashes at the
 * ends of the path.
 */
const refusedEscapes = /%2e|^%2f|%2f$/i;
const escapes = /%([0-9a-f]{2})/gi;

const noQuery = new URLSearchParams();

/** An upload session, or the place to begin one. */
const uploadGrammar = /^(.+)\/blobs\/uploads(?:\/([^/]*))?$/;
/** Endpoint words that separate the repository from the reference. */
const endpoints: ReadonlySet<string> = new Set(["manifests", "blobs", "tags", "referrers"]);

/**
 * Parses the raw target of a request line. Absolute-form (`http://…`), `//`, `.` and `..` components are `bad_path`, and
 * so are escapes of anything that may not stand there as it is (RFC 3986, section 2.4: decoded once), of dots, and of
 * slashes at the ends, and two different `ns`. The endpoint word nearest the end decides, so a repository may contain
 * components named `manifests`, `blobs` or `tags` (docs/clients.md 9). In the query, an argument without a value is no
 * argument, and of several with one name the first counts.
 */
export function parseTarget(target: string): Route | RouteProblem {
  if (target.length > maxTargetLength) return "bad_path";
  const queryAt = target.indexOf("?");
  const written = queryAt < 0 ? target : target.slice(0, queryAt);
  if (written === "/") return "unknown";
  const path = written.includes("%") ? decodePath(written) : written;
  if (!pathGrammar.test(path) || dotComponent.test(path)) return "bad_path";
  const at = findApiRoot(path);
  if (at < 0) return "unknown";
  const query = queryAt < 0 ? noQuery : new URLSearchParams(target.slice(queryAt + 1));
  if (query !== noQuery && new Set(query.getAll("ns")).size > 1) return "bad_path";
  const base = { prefix: path.slice(1, at), ns: query.get("ns") || undefined };
  const rest = path.slice(at + "/v2/".length);
  if (rest === "") return { kind: "ping", ...base };
  if (rest === "_catalog" || rest === "_catalog/") {
    const page = parsePage(query);
    return page === undefined ? "bad_page" : { kind: "catalog", page, ...base };
  }
  return parseEndpoint(rest, query, base);
}

/**
 * The path with its escapes decoded, each as one byte: what is above ASCII is in no grammar here. One whose escapes are
 * refused comes back as it is, which is in no grammar either.
 */
function decodePath(path: string): string {
  if (refusedEscapes.test(path)) return path;
  return path.replace(escapes, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function parseEndpoint(
  rest: string,
  query: URLSearchParams,
  base: { prefix: string; ns: string | undefined },
): Route | RouteProblem {
  const uploads = rest.includes("/blobs/uploads") ? uploadGrammar.exec(rest) : null;
  if (uploads !== null) {
    const repository = parseRepository(uploads[1] as string);
    if (repository === undefined) return "bad_name";
    const upload = parseUpload(uploads[2] || undefined, query);
    return typeof upload === "string" ? upload : { kind: "upload", repository, upload, ...base };
  }
  // Distribution redirects what ends in a slash to where it does not.
  if (rest.endsWith("/tags/list/")) return parseEndpoint(rest.slice(0, -1), query, base);
  const end = rest.lastIndexOf("/");
  const start = rest.lastIndexOf("/", end - 1);
  const endpoint = rest.slice(start + 1, end);
  const last = rest.slice(end + 1);
  if (start <= 0 || !endpoints.has(endpoint) || last === "") return "unknown";
  const repository = parseRepository(rest.slice(0, start));
  if (repository === undefined) return "bad_name";
  if (endpoint === "manifests") {
    const reference = parseReference(last);
    if (reference === undefined) return "bad_reference";
    const named = reference.kind === "digest" ? query.getAll("tag") : [];
    const tags = named.map(parseTag).filter((tag) => tag !== undefined);
    if (tags.length < named.length) return "bad_reference";
    return { kind: "manifest", repository, reference, ...(tags.length === 0 ? {} : { tags }), ...base };
  }
  if (endpoint === "tags") {
    if (last !== "list") return "unknown";
    const page = parsePage(query);
    return page === undefined ? "bad_page" : { kind: "tags", repository, page, ...base };
  }
  const digest = parseDigest(last);
  if (digest === undefined) return "bad_digest";
  if (endpoint === "blobs") return { kind: "blob", repository, digest, ...base };
  return {
    kind: "referrers",
    repository,
    digest,
    // An unescaped `+` reads as a space, which no media type has.
    artifactType: query.get("artifactType")?.replaceAll(" ", "+") || undefined,
    ...base,
  };
}

/** Offset of the first `/v2/` (or a final `/v2`); -1 without one. What stands before it is the route prefix. */
function findApiRoot(path: string): number {
  const at = path.indexOf("/v2/");
  return at < 0 && path.endsWith("/v2") ? path.length - "/v2".length : at;
}

/** Undefined for an `n` that is not a whole number from 0. */
function parsePage(query: URLSearchParams): Page | undefined {
  const n = query.get("n") || undefined;
  if (n !== undefined && !/^\d+$/.test(n)) return undefined;
  return {
    n: n === undefined ? undefined : Math.min(Number(n), maxPageSize),
    last: query.get("last") || undefined,
  };
}
