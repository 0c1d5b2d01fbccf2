// The programs that are compared.
import { startDistribution } from "./distribution.ts";
import { startEntrepot } from "./entrepot.ts";
import { startNginxCache } from "./nginx.ts";
import { ours } from "./scenario.ts";
import type { Server, ServerOptions } from "./server.ts";

export interface Peer {
  readonly name: string;
  /** Resolves when it listens. */
  start(options: ServerOptions): Promise<Server>;
}

export const entrepot: Peer = { name: ours, start: startEntrepot };

/** `program` of that version; the version tells several of them apart. */
export function distribution(program: string, version: string): Peer {
  const name = `Distribution ${version}`;
  return { name, start: (options) => startDistribution({ ...options, program, name }) };
}

export const nginx: Peer = { name: "nginx", start: startNginxCache };
