// The account this mirror has at an upstream, and where its current credentials come from.
import { createHmac, randomBytes } from "node:crypto";
import type { UpstreamAuth } from "../../config/config.ts";
import type { Secret } from "../../ports/secret.ts";

const key = randomBytes(32);

/** The user name with which credential helpers mark a secret that is an identity token (docker-credential-helpers). */
const identityTokenUser = "<token>";

/** A user name and its secret. Printing it does not show the secret. */
export class Credentials {
  readonly username: string;
  /** For cache keys: the same for the same account in one run of the program, and reveals nothing of it. */
  readonly identity: string;
  readonly #secret: string;

  constructor(username: string, secret: string) {
    this.username = username;
    this.#secret = secret;
    this.identity = createHmac("sha256", key)
      .update(JSON.stringify([username, secret]))
      .digest("base64url");
  }

  /** Whether the secret is an identity token, which only a token server takes, as a refresh token. */
  get isIdentityToken(): boolean {
    return this.username === identityTokenUser;
  }

  /** The secret itself: only where a request is built. */
  reveal(): string {
    return this.#secret;
  }

  /** The Authorization value of HTTP Basic, in UTF-8 (RFC 7617, section 2). */
  get basic(): string {
    return `Basic ${Buffer.from(`${this.username}:${this.#secret}`).toString("base64")}`;
  }
}

/** Where credentials come from. Rejects with UpstreamError auth when they should be there and are not. */
export interface CredentialSource {
  /** Undefined: there is no account. */
  read(): Promise<Credentials | undefined>;
  /** Upstream refused these. Resolves with others if there are others now. */
  renew(refused: Credentials): Promise<Credentials | undefined>;
}

export const noCredentials: CredentialSource = {
  read: async () => undefined,
  renew: async () => undefined,
};

/** The configured account; its password may change in the file it comes from. */
export function configuredCredentials(auth: UpstreamAuth & { kind: "basic" }): CredentialSource {
  let last: { readonly password: Secret; readonly account: Credentials } | undefined;
  const read = async (): Promise<Credentials> => {
    const password = await auth.password.read();
    if (last?.password !== password) {
      last = { password, account: new Credentials(auth.username, password.reveal()) };
    }
    return last.account;
  };
  return {
    read,
    renew: async ({ identity }) => {
      const account = await read();
      return account.identity === identity ? undefined : account;
    },
  };
}
