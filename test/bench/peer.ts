// The programs that are compared.
import { startDistribution } from "./distribution.ts";
import { startEntrepot } from "./entrepot.ts";
import { startNginxCache } from "./nginx.ts";
import { ours } from "./scenario.ts";
import type { Server, ServerOptions } from "./server.ts";

export interface Peer {
  readonly name: string;
  /** Whether its cache can be given a bound. */
  readonly bounded: boolean;
  /** Resolves when it listens. */
  start(options: ServerOptions): Promise<Server>;
}

export const entrepot: Peer = { name: ours, bounded: true, start: startEntrepot };

/** `program` of that version; the version tells several of them apart. */
export function distribution(program: string, version: string): Peer {
  const name = `Distribution ${version}`;
  return { name, bounded: false, start: (options) => startDistribution({ ...options, program, name }) };
}

export const nginx: Peer = { name: "nginx", bounded: true, start: startNginxCache };
