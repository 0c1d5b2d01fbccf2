// One connection to a server of LDAP (RFC 4511). It is made once: the library would otherwise open another one by itself when
// this is lost, on which nobody has proved anything yet and which StartTLS has not made safe.
import { once } from "node:events";
import { isIP, connect as netConnect, type Socket } from "node:net";
import { type ConnectionOptions, connect as tlsConnect } from "node:tls";
import type { Client, Entry } from "ldapts";

export interface LdapServer {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte on (`ldaps://`). */
  readonly tls: boolean;
}

export interface LdapConnectionOptions {
  /** TLS after the question for it (RFC 4511, section 4.14), on servers that do not begin with it. */
  readonly startTls: boolean;
  /** PEM of the authorities trusted instead of those of this program. */
  readonly ca: string | undefined;
}

export interface LdapSearch {
  /** The name of the entry below which is searched. */
  readonly base: string;
  /** All below `base`, or that entry alone. */
  readonly scope: "sub" | "base";
  readonly filter: string;
  /** The attributes that are wanted; at least one. */
  readonly attributes: readonly string[];
  /** Entries, at most. */
  readonly limit: number;
}

export interface FoundEntry {
  readonly dn: string;
  /** The values of an attribute, those that are text. */
  values(attribute: string): readonly string[];
}

/** RFC 4511, section 4.14.1. */
const startTlsName = "1.3.6.1.4.1.1466.20037";
/**
 * What an answer to a bind says when the name or the password is wrong, or this user may not log in now (RFC 4511, section
 * 4.1.9): constraintViolation, noSuchObject, invalidDNSyntax, inappropriateAuthentication, invalidCredentials,
 * insufficientAccessRights, unwillingToPerform. Servers say the first and the last of accounts that are locked.
 */
const refusedBind: ReadonlySet<number> = new Set([19, 32, 34, 48, 49, 50, 53]);
/** What an answer to a search says of an entry that is not there, or may not be read: noSuchObject, insufficientAccessRights. */
const unreadable: ReadonlySet<number> = new Set([32, 50]);
/** RFC 4511, section 4.5.1.8. */
const noAttributes = "1.1";
/** Milliseconds without a byte after which an idle connection is closed. */
const idleTimeout = 60_000;

export class LdapConnection {
  readonly #socket: Socket;
  readonly #client: Client;

  private constructor(socket: Socket, client: Client) {
    this.#socket = socket;
    this.#client = client;
  }

  /** Rejects with what is in the way. The signal ends the connection as well, whenever it aborts. */
  static async open(
    server: LdapServer,
    { startTls, ca }: LdapConnectionOptions,
    signal: AbortSignal,
  ): Promise<LdapConnection> {
    const { host, port } = server;
    const tls: ConnectionOptions = {
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(ca === undefined ? {} : { ca }),
      minVersion: "TLSv1.2",
    };
    const plain = server.tls ? undefined : await connected(netConnect(port, host), "connect", signal);
    if (plain === undefined)
      return await LdapConnection.#over(
        await connected(tlsConnect({ ...tls, port }), "secureConnect", signal),
      );
    if (!startTls) return await LdapConnection.#over(plain);
    try {
      // With a client of its own: what a stranger has sent before TLS must not be read as an answer after it.
      const asking = await clientOver(plain);
      await asking.exop(startTlsName);
      plain.removeAllListeners("data");
      return await LdapConnection.#over(
        await connected(tlsConnect({ ...tls, socket: plain }), "secureConnect", signal),
      );
    } catch (error) {
      plain.destroy();
      throw error;
    }
  }

  static async #over(socket: Socket): Promise<LdapConnection> {
    socket.setTimeout(idleTimeout, () => socket.destroy());
    return new LdapConnection(socket, await clientOver(socket));
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.readyState === "open";
  }

  /**
   * Proves to be the entry by its password, as which the connection counts from then on; false when that is refused. Never
   * sends an empty name or password, for which servers say yes without having looked at anything (RFC 4513, section 5.1).
   */
  async bind(dn: string, password: string): Promise<boolean> {
    // Without an attribute it is no name, and the library takes some for mechanisms of SASL.
    if (!dn.includes("=") || password === "") return false;
    try {
      await this.#client.bind(dn, password);
      return true;
    } catch (error) {
      if (refusedBind.has(codeOf(error))) return false;
      throw error;
    }
  }

  /** What is found, but for what other servers would have to be asked for (RFC 4511, section 4.5.3). */
  async search({ base, scope, filter, attributes, limit }: LdapSearch): Promise<FoundEntry[]> {
    const { searchEntries } = await this.#client.search(base, {
      scope,
      filter,
      attributes: [...attributes],
      sizeLimit: limit,
    });
    return searchEntries.map((entry) => ({
      dn: entry.dn,
      values: (attribute) => valuesOf(entry, attribute),
    }));
  }

  /** The name of the entry as the directory has it; undefined where there is none, or it may not be read. */
  async nameOf(dn: string): Promise<string | undefined> {
    try {
      const filter = "(objectClass=*)";
      const [entry] = await this.search({
        base: dn,
        scope: "base",
        filter,
        attributes: [noAttributes],
        limit: 1,
      });
      return entry?.dn;
    } catch (error) {
      if (unreadable.has(codeOf(error))) return undefined;
      throw error;
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Connected; rejects with the socket's error or the signal's reason. The signal goes on to end it afterwards. */
async function connected(socket: Socket, event: string, signal: AbortSignal): Promise<Socket> {
  const end = (): void => void socket.destroy();
  signal.addEventListener("abort", end, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", end));
  // Those that come later are told by its end.
  socket.on("error", () => {});
  try {
    await once(socket, event, { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** A client over this connection and no other. */
async function clientOver(socket: Socket): Promise<Client> {
  const { Client: LdapClient } = await import("ldapts");
  let given = false;
  return new LdapClient({
    // Where it is connected to is said by the socket.
    url: "ldap://connected",
    createConnection: () => {
      if (given || socket.destroyed) throw new Error("the connection is lost");
      given = true;
      return socket;
    },
  });
}

/** The code of a server's answer; -1 for every other error. */
export function codeOf(error: unknown): number {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "number" ? code : -1;
}

/** Servers write the names of attributes as they like. */
function valuesOf(entry: Entry, attribute: string): readonly string[] {
  const wanted = attribute.toLowerCase();
  const found = Object.keys(entry).find((each) => each.toLowerCase() === wanted);
  const values = found === undefined ? [] : entry[found];
  return [values].flat().filter((value): value is string => typeof value === "string");
}
