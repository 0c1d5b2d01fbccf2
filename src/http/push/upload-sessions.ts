// Where an upload goes on (distribution-spec, "Pushing blobs": the client must use the Location it was given). The
// client has to come back to this mirror, wherever upstream's Location leads. An address below upstream's own uploads
// of the repository is rewritten part by part, so that any node can go on with the upload. Any other address is kept in
// this process, under a random name.
import { randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import { apiPath, apiUrl } from "../../oci/api-url.ts";
import type { Repository } from "../../oci/name.ts";
import { maxTargetLength, parseTarget } from "../../oci/route.ts";
import { type Upload, uploadQuery } from "../../oci/upload.ts";
import type { Clock } from "../../ports/clock.ts";
import { UpstreamError } from "../../ports/upstream.ts";

/** Most addresses kept, most bytes of all of them, and the milliseconds one is kept after its last use. */
const maxKept = 10_000;
const maxKeptBytes = 16 * 1024 * 1024;
const keptFor = 3_600_000;
/** Longest Location accepted, in characters; presigned ones reach 2 or 3 kB. */
const longestLocation = 8 * 1024;
/** Room for what the client adds to a Location: `&digest=` with the longest digest. */
const addedByClient = 256;

/** The names in a request, from which a Location is made that leads back to the same upstream. */
export interface RequestNames {
  readonly prefix: string;
  readonly ns: string | undefined;
  /** The client's name for it. */
  readonly repository: Repository;
  /** Upstream's name for it. */
  readonly upstreamRepository: Repository;
}

interface Kept {
  /** Upstream's name for it. */
  readonly repository: Repository;
  readonly url: URL;
}

export class UploadSessions {
  readonly #base: URL;
  readonly #kept: LRUCache<string, Kept>;

  /** `base` is upstream's URL with its path. */
  constructor(base: URL, clock: Clock) {
    this.#base = base;
    this.#kept = new LRUCache({
      max: maxKept,
      maxSize: maxKeptBytes,
      sizeCalculation: ({ url }) => url.href.length + 256,
      ttl: keptFor,
      ttlResolution: 0,
      updateAgeOnGet: true,
      perf: { now: clock },
    });
  }

  /**
   * The URL where an upload to `repository`, by upstream's name, goes on. It has another origin only when a Location of
   * upstream's led there.
   */
  urlOf(repository: Repository, upload: Upload): URL {
    const kept = this.#find(repository, upload.session);
    if (kept === undefined)
      return apiUrl(this.#base, repository, `blobs/uploads/${upload.session ?? ""}`, uploadQuery(upload));
    const url = new URL(kept.url);
    // Not through searchParams, which would rewrite the query: it may be signed as it is.
    const added = uploadQuery(upload).toString();
    if (added !== "") url.search += `${url.search === "" ? "?" : "&"}${added}`;
    return url;
  }

  /**
   * The Location for the client, an absolute path, instead of the one upstream gave in its answer to `asked`. Throws
   * UpstreamError protocol for one that cannot be used: no address, not HTTP, above 8 KiB, or HTTP when upstream has
   * TLS.
   */
  locationOf(names: RequestNames, upload: Upload, asked: URL, location: string): string {
    const address = addressIn(location, asked);
    const ours = this.#mapped(names, address);
    if (ours !== undefined) return ours;
    const target = followed(this.#base, address);
    // One entry for a whole upload: the chunks of one do not displace other uploads.
    const known = this.#find(names.upstreamRepository, upload.session) && upload.session;
    const session = known ?? randomBytes(24).toString("base64url");
    this.#kept.set(session, { repository: names.upstreamRepository, url: target });
    return ourLocation(names, session, "");
  }

  /** The upload is over. */
  forget(upload: Upload): void {
    if (upload.session !== undefined) this.#kept.delete(upload.session);
  }

  #find(repository: Repository, session: string | undefined): Kept | undefined {
    const kept = session === undefined ? undefined : this.#kept.get(session);
    return kept?.repository === repository ? kept : undefined;
  }

  /**
   * The rewritten address. Undefined unless it is below upstream's uploads of this repository and is parsed as the same
   * session again. Its scheme is ignored, because registries behind a TLS proxy often name the wrong one.
   */
  #mapped(names: RequestNames, target: URL): string | undefined {
    const below = `${apiPath(this.#base)}${names.upstreamRepository}/blobs/uploads/`;
    if (target.host !== this.#base.host || !target.pathname.startsWith(below)) return undefined;
    const session = target.pathname.slice(below.length);
    const ours = ourLocation(names, session, target.search);
    if (session === "" || ours.length > maxTargetLength - addedByClient) return undefined;
    const route = parseTarget(ours);
    if (typeof route === "string" || route.kind !== "upload") return undefined;
    return route.repository === names.repository && route.upload.session === session ? ours : undefined;
  }
}

/**
 * Where upstream at `base` has redirected a write from `asked`. Throws UpstreamError protocol, as
 * `UploadSessions.locationOf` does.
 */
export function redirectedTo(base: URL, asked: URL, location: string): URL {
  return followed(base, addressIn(location, asked));
}

function addressIn(location: string, asked: URL): URL {
  const target = location.length > longestLocation ? null : URL.parse(location, asked.href);
  if (target === null || !/^https?:$/.test(target.protocol)) throw refused("to no address that can be used");
  return target;
}

/** The address without user, password and fragment. */
function followed(base: URL, target: URL): URL {
  if (base.protocol === "https:" && target.protocol === "http:") throw refused("from https to http");
  const url = new URL(target);
  url.username = "";
  url.password = "";
  url.hash = "";
  return url;
}

/** The absolute path of an endpoint, as clients address it. */
export function ourPath({ prefix, repository }: RequestNames, endpoint: string): string {
  return `${prefix === "" ? "" : `/${prefix}`}/v2/${repository}/${endpoint}`;
}

function ourLocation(names: RequestNames, session: string, search: string): string {
  const query = new URLSearchParams(search);
  query.delete("ns");
  if (names.ns !== undefined) query.set("ns", names.ns);
  return `${ourPath(names, `blobs/uploads/${session}`)}${query.size > 0 ? "?" : ""}${query}`;
}

function refused(why: string): UpstreamError {
  return new UpstreamError("protocol", `upstream led a write ${why}`);
}
