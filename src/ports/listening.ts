// Where a server listens: an address, a unix socket, or a socket that was open when this process was started.
import { chmodSync, lstatSync, rmSync } from "node:fs";
import { connect, type ListenOptions, type Server } from "node:net";

/** `host` "" is every address of this machine, IPv6 and IPv4. Port 0 lets the system choose. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface UnixSocket {
  readonly path: string;
  /** Permissions of the file: who may write to it may connect. */
  readonly mode: number;
}

/** By its descriptor, as systemd passes it (sd_listen_fds(3)). */
export interface InheritedSocket {
  readonly fd: number;
}

export type ListenPlace = Address | UnixSocket | InheritedSocket;

/** Where a server listens in fact. Of a unix socket `path`, with an empty host and port 0. */
export interface Bound extends Address {
  readonly path?: string;
}

/** Whether only this machine reaches it: an address of loopback (RFC 1122, RFC 4291), or a unix socket. */
export function isLocalOnly({ host, path }: Bound): boolean {
  return path !== undefined || host === "::1" || /^(?:::ffff:)?127\./.test(host);
}

/** Connections that wait to be accepted; the system may allow fewer. */
const backlog = 1024;

/** Resolves when it listens. Rejects with the system's error, without listeners of its own left at the server. */
export function listenAt(server: Server, place: ListenPlace): Promise<Bound> {
  const { promise, resolve, reject } = Promise.withResolvers<Bound>();
  server.once("error", reject);
  server.listen(optionsOf(place), () => {
    server.off("error", reject);
    try {
      if ("path" in place) chmodSync(place.path, place.mode);
      resolve(boundOf(server));
    } catch (error) {
      reject(error);
    }
  });
  return promise;
}

function optionsOf(place: ListenPlace): ListenOptions & { readonly fd?: number } {
  if ("fd" in place) return { fd: place.fd };
  if ("path" in place) return { path: place.path, backlog };
  const { host, port } = place;
  // Without a host Node listens on every IPv6 and IPv4 address, and where there is no IPv6 on every IPv4 address.
  return host === "" ? { port, backlog } : { host, port, backlog };
}

function boundOf(server: Server): Bound {
  const address = server.address();
  if (address === null || typeof address === "string") return { host: "", port: 0, path: address ?? "" };
  return { host: address.address, port: address.port };
}

/**
 * Removes the file of a unix socket at which nobody listens any more, as a process that was killed leaves it. To be called
 * before `listenAt`, once for all processes that share the socket. Never rejects: what is left makes listening fail.
 */
export async function removeStale(place: ListenPlace): Promise<void> {
  if (!("path" in place)) return;
  const { path } = place;
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const answers = await new Promise<boolean>((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code !== "ECONNREFUSED"));
  });
  if (!answers) rmSync(path, { force: true });
}
