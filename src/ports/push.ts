// Writes that pass through to an upstream: where they go, and what has to hear of them.
import type { Agent } from "node:http";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { CallerCredentials } from "./caller-credentials.ts";

/** Rights a request needs, in the words of token scopes; `*` where something is deleted. */
export type Actions = "pull" | "pull,push" | "*";

/**
 * The upstream writes go to, and this mirror's account there or, where upstream says itself what a caller may, those of
 * callers: `caller` is who writes then. Methods reject with UpstreamError.
 */
export interface PushTarget {
  /** http or https; may have a path. */
  readonly url: URL;
  /** The name upstream has for a repository of ours; the other methods take that name. Throws UpstreamError. */
  upstreamRepository(repository: Repository): Repository;
  /**
   * The Authorization header for a request to the origin of `url`; undefined to send none. Asked before a body is
   * streamed, because a body cannot be sent twice: whatever has to be learnt from upstream first, a token challenge
   * above all, is learnt in here. `from`: a repository a blob is to be mounted from, which takes the right to pull
   * from there; upstream wants the blob sent when it is missing.
   */
  authorization(
    repository: Repository,
    actions: Actions,
    from?: Repository,
    caller?: CallerCredentials,
  ): Promise<string | undefined>;
  /**
   * Upstream answered 401 with these WWW-Authenticate values, or 400 or 403, which are often about the account too. True:
   * something was learnt, ask again. A request that had a body is not sent again even so; the client's next try is the
   * better for it.
   */
  refused(
    repository: Repository,
    challenges: readonly string[],
    status: 400 | 401 | 403,
    caller?: CallerCredentials,
  ): Promise<boolean>;
  /**
   * Of the protocol of `to`. For the origin of `url` it keeps connections, and bounds for how long. Any other address
   * has come from outside: it is connected to only if downloads may be redirected to it, and requests to the rest fail
   * with UpstreamError redirect_refused.
   */
  agentFor(to: URL): Agent;
}

/** Hears what a write has changed, before the client does. Must not reject. */
export interface PushSink {
  /** `unsure`: upstream may have done either, but its answer was lost. */
  changed(repository: Repository, reference: Reference, what: "pushed" | "deleted" | "unsure"): Promise<void>;
  /** Upstream has the blob in the repository now. */
  blobPushed(repository: Repository, digest: Digest): Promise<void>;
  /** Upstream does not, or may not, have the blob in the repository any more. */
  blobDeleted(repository: Repository, digest: Digest): Promise<void>;
}
