// How this mirror proves itself to its own upstream. One implementation per scheme; the client alone decides
// which requests may carry the result (client.ts, `ownRequest`).
import type { UpstreamConfig } from "../config/config.ts";
import type { Repository } from "../oci/name.ts";

/** What a request needs rights for: pulling from one repository. */
export interface Scope {
  readonly repository: Repository;
}

export interface Authorizer {
  /** The Authorization header's value; undefined to send none. */
  header(scope: Scope): Promise<string | undefined>;
  /**
   * Upstream answered 401 with these WWW-Authenticate values. True: something was learnt, and the request is to be
   * sent once more with a new `header`.
   */
  refused(scope: Scope, challenges: readonly string[]): Promise<boolean>;
}

/** HTTP Basic (RFC 7617) from the configured account; sends nothing when no username is configured. */
export function basicAuthorizer(config: Pick<UpstreamConfig, "username" | "password">): Authorizer {
  const { username, password } = config;
  const value =
    username === undefined
      ? undefined
      : `Basic ${Buffer.from(`${username}:${password?.reveal() ?? ""}`).toString("base64")}`;
  return {
    header: () => Promise.resolve(value),
    refused: () => Promise.resolve(false),
  };
}
