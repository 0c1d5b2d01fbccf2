// How this mirror proves itself to its own upstream. One implementation per scheme; the client alone decides
// which requests may carry the result (client.ts, `ownRequest`).
import type { Repository } from "../../oci/name.ts";
import type { Actions } from "../../ports/push.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { AccountVerdict } from "./account-checks.ts";

/** What a request needs rights for, in one repository. */
export interface TokenScope {
  /** Left out: none, but the account itself is to be accepted, as `docker login` has it. */
  readonly repository?: Repository | undefined;
  /** Left out: pull. */
  readonly actions?: Actions;
}

/** An answer with which upstream refuses a request, whoever is at fault. */
export interface RefusingAnswer {
  readonly status: number;
  /** WWW-Authenticate values. */
  readonly challenges: readonly string[];
}

/** The account itself is refused: by upstream, or by its token server. */
export class AccountRefused extends UpstreamError {
  constructor(message: string, options?: ConstructorParameters<typeof UpstreamError>[2]) {
    super("auth", message, options);
  }
}

/** Upstream is asked with the credentials of its callers, and there is neither a caller nor an account. */
export class NobodyAsks extends UpstreamError {
  constructor(upstream: string) {
    super("auth", `upstream ${upstream} has no account for what no caller waits for`);
  }
}

/** The token server accepts our account and gives it no token for the repository: upstream's refusal comes from there. */
export class RepositoryRefused extends UpstreamError {
  /** The body of its answer: at most 64 KiB. */
  readonly body: Buffer;

  constructor(refusal: UpstreamError, body: Buffer) {
    super("auth", refusal.message, { status: refusal.status, cause: refusal });
    this.name = "RepositoryRefused";
    this.body = body;
  }
}

/**
 * Every method rejects with UpstreamError: `auth` when there is no way to prove ourselves. What asks for a header may also
 * reject with RepositoryRefused.
 */
export interface Authorizer {
  /** The Authorization header's value; undefined to send none. */
  header(scope: TokenScope): Promise<string | undefined>;
  /**
   * Upstream answered 401, with these WWW-Authenticate values, to a request that carried `sent`. True: the request is
   * worth sending once more with a new `header`. `again`: it has been sent once more already, and is worth a third time
   * only when there is something else to ask a token for.
   */
  refused(
    scope: TokenScope,
    challenges: readonly string[],
    sent: string | undefined,
    again?: boolean,
  ): Promise<boolean>;
  /**
   * Upstream answered 403 or 404, which may be what it tells those who have not proved themselves, to a request that
   * carried `sent`. True: it takes other proof than that, and the request is worth sending once more with a new `header`.
   */
  hidden(scope: TokenScope, sent: string | undefined): Promise<boolean>;
  /**
   * Upstream answered 400 or 403, which may be about the account or about the content, to a request that carried `sent`.
   * True: there are other credentials now, and the request is worth sending once more with a new `header`.
   */
  renewed(scope: TokenScope, sent: string | undefined): Promise<boolean>;
  /**
   * Upstream has answered 400, 401 or 403 to a request that carried `sent`, and there is nothing better to send: whether it
   * refuses our account, or accepts it and refuses what was asked for. Asks where an account is proved, at most once in ten
   * seconds for the same one.
   */
  judge(answer: RefusingAnswer, sent: string | undefined): Promise<AccountVerdict>;
  /** Goes on with what another one has learned of the same registry, and with its tokens; left out: nothing is learned. */
  continue?(before: Authorizer): void;
  /** Ends what is under way and closes every connection. */
  close(): Promise<void>;
}
