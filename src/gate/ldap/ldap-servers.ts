// The servers of one directory, of which each has all of it: one is asked, and the next when it fails. Connections are kept and
// used by one question at a time, since a connection is whoever has logged in over it last.
import { DirectoryDown } from "../directory.ts";
import { codeOf, LdapConnection, type LdapConnectionOptions, type LdapServer } from "./ldap-connection.ts";

export interface LdapServersOptions extends LdapConnectionOptions {
  /** At least one. */
  readonly servers: readonly LdapServer[];
  /** Milliseconds for all that one question needs of one server, connecting included. */
  readonly timeout: number;
  /** Whether a connection may be used for another question. */
  readonly keep: boolean;
  /** Called with what was wrong with a server, for people. */
  readonly failed: (problem: string) => void;
}

interface Idle {
  readonly at: number;
  readonly connection: LdapConnection;
}

export class LdapServers {
  readonly #options: LdapServersOptions;
  readonly #idle: Idle[] = [];
  /** The server that answered last. */
  #first = 0;
  #closed = false;

  constructor(options: LdapServersOptions) {
    this.#options = options;
  }

  /**
   * What `ask` makes of the first server that answers. It is called again, with another connection, when one fails. Rejects with
   * DirectoryDown when all have failed. There are as many connections as questions at once.
   */
  async use<T>(ask: (connection: LdapConnection) => Promise<T>): Promise<T> {
    const { servers, failed } = this.#options;
    const problems: string[] = [];
    for (let i = 0; i < servers.length; i++) {
      const at = (this.#first + i) % servers.length;
      try {
        const answer = await this.#askOne(at, ask);
        this.#first = at;
        return answer;
      } catch (error) {
        const problem = `${urlOf(servers[at] as LdapServer)}: ${(error as Error).message}`;
        failed(problem);
        problems.push(problem);
      }
    }
    throw new DirectoryDown(problems.join("; "));
  }

  async #askOne<T>(at: number, ask: (connection: LdapConnection) => Promise<T>): Promise<T> {
    const { timeout } = this.#options;
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), timeout);
    try {
      const kept = this.#take(at);
      if (kept !== undefined) {
        try {
          return await this.#askOver(kept, at, ask, over.signal);
        } catch (error) {
          // It may have been closed meanwhile: that says nothing of the server.
          if (isAnswer(error) || over.signal.aborted) throw error;
        }
      }
      const opened = await LdapConnection.open(
        this.#options.servers[at] as LdapServer,
        this.#options,
        over.signal,
      );
      return await this.#askOver(opened, at, ask, over.signal);
    } catch (error) {
      throw new Error(over.signal.aborted ? `no answer within ${timeout} ms` : reasonOf(error));
    } finally {
      clearTimeout(timer);
    }
  }

  async #askOver<T>(
    connection: LdapConnection,
    at: number,
    ask: (connection: LdapConnection) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const end = (): void => connection.close();
    signal.addEventListener("abort", end, { once: true });
    let keep = false;
    try {
      const answer = await ask(connection);
      keep = this.#options.keep && connection.isOpen && !this.#closed;
      return answer;
    } finally {
      signal.removeEventListener("abort", end);
      if (keep) this.#idle.push({ at, connection });
      else connection.close();
    }
  }

  /** One to the server that is still open. */
  #take(at: number): LdapConnection | undefined {
    this.#idle.push(...this.#idle.splice(0).filter(({ connection }) => connection.isOpen));
    const found = this.#idle.findLastIndex((idle) => idle.at === at);
    return found < 0 ? undefined : this.#idle.splice(found, 1)[0]?.connection;
  }

  /** Questions under way go on to their end. */
  close(): void {
    this.#closed = true;
    for (const { connection } of this.#idle.splice(0)) connection.close();
  }
}

function urlOf({ tls, host, port }: LdapServer): string {
  return `ldap${tls ? "s" : ""}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Whether a server has said so, and not the connection. */
function isAnswer(error: unknown): boolean {
  return error instanceof LdapProblem || codeOf(error) >= 0;
}

/** For the log: what a server writes beside its code may be about what it was sent. */
function reasonOf(error: unknown): string {
  if (error instanceof LdapProblem) return error.message;
  const code = codeOf(error);
  if (code >= 0) return `${(error as Error).constructor.name.replace(/Error$/, "")} (${code})`;
  const { code: system, message } = error as NodeJS.ErrnoException;
  return typeof system === "string" ? system : (message.split("\n", 1)[0] ?? "");
}

/** What is wrong with a server or its content, for people. It holds nothing that a client has sent. */
export class LdapProblem extends Error {
  constructor(message: string) {
    super(message);
    this.name = "LdapProblem";
  }
}
