// What stands behind `/blobs/uploads/` (distribution-spec, "Pushing blobs"): the session as upstream named it in a
// Location, and a query of which most is upstream's own state, to be given back to it as it came.
import { type Digest, parseDigest } from "./digest.ts";
import { parseRepository, type Repository } from "./name.ts";

export interface Upload {
  /** Opaque; undefined where an upload begins. */
  readonly session: string | undefined;
  /** The blob this request completes. */
  readonly digest: Digest | undefined;
  /** The blob to be taken over from repository `from` instead of being sent. */
  readonly mount: Digest | undefined;
  readonly from: Repository | undefined;
  /** Every other argument, in order. */
  readonly state: readonly (readonly [name: string, value: string])[];
}

/** Arguments that are read here and so are no state; `ns` belongs to the route. */
const known = new Set(["ns", "digest", "mount", "from"]);
const maxState = 16;
const sessionGrammar = /^[A-Za-z0-9._~=-]+$/;
const stateName = /^[A-Za-z0-9._~-]{1,64}$/;
/** No control characters, and no U+FFFD: that is what escapes which are no UTF-8 read as, and they would be lost. */
const stateValue = /^[^\p{Cc}\ufffd]*$/u;

/**
 * The upload a target names. An argument without a value is none. At most 16 arguments are state; more, or any that
 * could not be sent on as it is, is `bad_upload`, and so are arguments that contradict each other, of which upstream
 * might follow one and this mirror believe another: two values of one name, a `mount` that is not the `digest`, and a
 * `mount` into a session that has begun.
 */
export function parseUpload(
  session: string | undefined,
  query: URLSearchParams,
): Upload | "bad_upload" | "bad_digest" | "bad_name" {
  if (session !== undefined && !sessionGrammar.test(session)) return "bad_upload";
  const state = [...query].filter(([name]) => !known.has(name));
  if (state.length > maxState) return "bad_upload";
  if (!state.every(([name, value]) => stateName.test(name) && stateValue.test(value))) return "bad_upload";
  if (["digest", "mount", "from"].some((name) => new Set(query.getAll(name)).size > 1)) return "bad_upload";
  const digest = argument(query, "digest", parseDigest);
  const mount = argument(query, "mount", parseDigest);
  if (digest === "malformed" || mount === "malformed") return "bad_digest";
  if (mount !== undefined && (session !== undefined || mount !== (digest ?? mount))) return "bad_upload";
  const from = argument(query, "from", parseRepository);
  return from === "malformed" ? "bad_name" : { session, digest, mount, from, state };
}

/** The query of a request to upstream: state first, as it was when upstream gave it. */
export function uploadQuery({ state, mount, from, digest }: Upload): URLSearchParams {
  const query = new URLSearchParams(state.map(([name, value]): [string, string] => [name, value]));
  if (mount !== undefined) query.append("mount", mount);
  if (from !== undefined) query.append("from", from);
  if (digest !== undefined) query.append("digest", digest);
  return query;
}

function argument<T>(
  query: URLSearchParams,
  name: string,
  parse: (text: string) => T | undefined,
): T | "malformed" | undefined {
  const text = query.get(name) || undefined;
  return text === undefined ? undefined : (parse(text) ?? "malformed");
}
