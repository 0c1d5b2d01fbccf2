// TLS in front of a server that reads HTTP from the connections it is given: HTTP/1.1 over TLS 1.2 or later. The certificate may
// change while connections live.
import type { Socket } from "node:net";
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from "node:tls";

/** What a server proves itself with. Plain data, so that it can be sent to other processes; nothing else may print it. */
export interface ServerTls {
  /** The certificate with those between it and its authority, and its private key, in PEM. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the authorities of clients: one that shows a certificate has to show one of theirs. Undefined: none is asked for. */
  readonly clientCa: string | undefined;
  /** Clients without one are refused; left out: they are not. */
  readonly clientsNeedOne?: boolean | undefined;
  /** 48 random bytes that session tickets are sealed with: processes with the same ones resume each other's sessions. */
  readonly ticketKeys: Uint8Array;
}

/** Milliseconds for the first byte of a connection, and then for the handshake. */
const defaultTimeout = 15_000;
/** Milliseconds in which the rest of a request that is not TLS is read and dropped, so that its answer is seen. */
const lingering = 5_000;
/** RFC 8446, section 5.1: the type of the record that every TLS connection begins with. */
const handshakeRecord = 0x16;

const refusal = "this port speaks TLS: use https://\n";
const plainAnswer = [
  "HTTP/1.1 400 Bad Request",
  "Content-Type: text/plain; charset=utf-8",
  `Content-Length: ${refusal.length}`,
  "Connection: close",
  "",
  refusal,
].join("\r\n");

/** By TLS connection, the one it goes over. */
const below = new WeakMap<Socket, Socket>();

/** The connection itself: of a TLS connection the one it goes over. */
export function connectionBelow(socket: Socket): Socket {
  return below.get(socket) ?? socket;
}

/** Ends a connection so that the other side sees it cut: after a close it might take what it has for everything. */
export function cutConnection(socket: Socket): void {
  const connection = connectionBelow(socket);
  // Of unix sockets there is no reset.
  if (connection.remoteAddress === undefined) socket.destroy();
  else connection.resetAndDestroy();
}

export class TlsFront {
  readonly #server: Server;
  readonly #timeout: number;
  /** What is done with each connection once its handshake is over. */
  readonly #waiting = new WeakMap<Socket, (secured: TLSSocket) => void>();

  /** `timeout` in milliseconds. Throws OpenSSL's error for a certificate and a key that cannot be used. */
  constructor(tls: ServerTls, timeout = defaultTimeout) {
    this.#timeout = timeout;
    // It never listens: connections are given to it.
    this.#server = createServer({
      ...contextOf(tls),
      ticketKeys: Buffer.from(tls.ticketKeys),
      ALPNProtocols: ["http/1.1"],
      handshakeTimeout: timeout,
      requestCert: tls.clientCa !== undefined,
      // One without a certificate would be refused, too.
      rejectUnauthorized: tls.clientCa !== undefined && tls.clientsNeedOne === true,
    });
    // Node leaves one whose handshake takes too long as it is.
    this.#server.on("tlsClientError", (_error, secured) => void secured.destroy());
    this.#server.on("secureConnection", (secured: TLSSocket) => {
      // net.Socket keeps it there for its time-outs.
      const connection = (secured as TLSSocket & { readonly _parent: Socket })._parent;
      const done = this.#waiting.get(connection);
      const certificate = secured.getPeerX509Certificate();
      // A session is resumed with what was proved at its beginning.
      const isBad =
        certificate !== undefined && (!secured.authorized || certificate.validToDate < new Date());
      if (done === undefined || isBad) {
        secured.destroy();
        return;
      }
      below.set(secured, connection);
      done(secured);
    });
  }

  /** For connections to come. Throws OpenSSL's error for a certificate and a key that cannot be used. */
  use(tls: ServerTls): void {
    this.#server.setSecureContext({ ...contextOf(tls), ticketKeys: Buffer.from(tls.ticketKeys) });
  }

  /**
   * Takes a connection of which nothing has been read. `done` is called once its handshake is over. One that sends nothing, or
   * does not come to the end of its handshake, is destroyed; one that does not begin with TLS is answered 400 and closed.
   */
  take(connection: Socket, done: (secured: TLSSocket) => void): void {
    const timer = setTimeout(() => connection.destroy(), this.#timeout);
    const gone = (): void => void connection.destroy();
    const end = (): void => {
      clearTimeout(timer);
      connection.off("readable", read).off("close", end).off("end", gone);
    };
    const read = (): void => {
      const bytes: Buffer | null = connection.read();
      if (bytes === null) return;
      end();
      if (bytes[0] !== handshakeRecord) {
        refusePlain(connection);
        return;
      }
      connection.unshift(bytes);
      this.#waiting.set(connection, done);
      this.#server.emit("connection", connection);
    };
    // Its end is told by "close".
    connection.on("error", () => {});
    connection.on("readable", read).on("close", end).on("end", gone);
  }
}

function contextOf({ cert, key, clientCa }: ServerTls): SecureContextOptions {
  return {
    cert,
    key,
    ...(clientCa === undefined ? {} : { ca: clientCa }),
    minVersion: "TLSv1.2",
    // Sessions are resumed where it is the same.
    sessionIdContext: "entrepot",
  };
}

function refusePlain(connection: Socket): void {
  connection.end(plainAnswer);
  connection.resume();
  const timer = setTimeout(() => connection.destroy(), lingering);
  connection.once("close", () => clearTimeout(timer));
}
