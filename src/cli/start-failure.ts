// One line for what stopped the program from starting.
import { formatListenPlace, type ListenPlace, listenReasons } from "../config/address.ts";

/** An address the program listens on, and how to choose another: `with ENTREPOT_LISTEN, or ...`. */
export interface Listener {
  readonly address: ListenPlace;
  readonly remedy: string;
}

interface SystemError {
  readonly code?: unknown;
  readonly address?: unknown;
  readonly hostname?: unknown;
  readonly port?: unknown;
}

/** Complete, without a newline. System errors of listening name the address and the setting to change. */
export function describeStartFailure(error: unknown, listeners: readonly Listener[]): string {
  const { code, address, hostname, port } = (error ?? {}) as SystemError;
  const reason = typeof code === "string" ? listenReasons[code] : undefined;
  const host = address ?? hostname;
  if (reason !== undefined && typeof host === "string") {
    const listener = listenerOf(listeners, host, port);
    const where = listener?.address ?? { host, port: Number(port ?? 0) };
    const remedy = listener === undefined ? "" : ` Choose another address ${listener.remedy}.`;
    return `entrepot: cannot listen on ${formatListenPlace(where)}: ${reason}.${remedy}`;
  }
  const message = error instanceof Error ? error.message : String(error);
  // By name: the class belongs to the cache, which the command line does not lean on.
  if (error instanceof Error && error.name === "StoreError") {
    return `entrepot: cannot start: ${message}. Another directory: ENTREPOT_CACHE_DIR, or cache.dir in the configuration file.`;
  }
  return `entrepot: cannot start: ${message}`;
}

/** Found by the port, because a name that was resolved is another host in the error. */
function listenerOf(listeners: readonly Listener[], host: string, port: unknown): Listener | undefined {
  const samePort = listeners.filter(
    ({ address }) => port === undefined || Number(port) < 0 || ("port" in address && address.port === port),
  );
  return samePort.find(({ address }) => nameOf(address) === host) ?? samePort[0];
}

/** As the system's error names it. */
function nameOf(place: ListenPlace): string {
  return "path" in place ? place.path : "host" in place ? place.host : "";
}
