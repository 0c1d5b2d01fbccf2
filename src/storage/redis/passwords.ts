// The passwords of Redis, which change while the program runs: read again whenever a connection is lost or refused.
import type { RedisConfig } from "../../config/config.ts";
import type { SecretSource } from "../../config/secret.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { RedisPasswords } from "./client.ts";

export class PasswordReader {
  readonly #sources: readonly [server: SecretSource | undefined, sentinels: SecretSource | undefined];
  readonly #notices: NoticeSink;
  #told: string | undefined;

  constructor({ servers, password }: RedisConfig, notices: NoticeSink) {
    this.#sources = [password, servers.kind === "sentinel" ? servers.password : undefined];
    this.#notices = notices;
  }

  /** As they are now; a file that cannot be read is told once. */
  async read(): Promise<RedisPasswords> {
    const [server, sentinels] = await Promise.all(this.#sources.map((source) => source?.read()));
    const problem = this.#sources.find((source) => source?.problem !== undefined)?.problem;
    if (problem !== undefined && problem !== this.#told)
      this.#notices({ kind: "secret_problem", upstream: "redis", message: problem });
    this.#told = problem;
    return { server: server?.reveal(), sentinels: sentinels?.reveal() };
  }
}
