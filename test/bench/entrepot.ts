// Entrepôt as a user starts it: defaults, and the upstream's URL. Its JSON log, one line a request, goes to a file.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../system/fixtures/free-port.ts";
import { type Server, type ServerOptions, startProgram } from "./server.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface EntrepotServer extends Server {
  /** Base URL of health and metrics; on the loopback of the place it runs in. */
  readonly ops: URL;
}

export interface EntrepotOptions extends ServerOptions {
  readonly name?: string;
  /** Its name among nodes that share a Redis; alone unless given. */
  readonly node?: string;
  /** Settings over the defaults. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Resolves when it listens. */
export async function startEntrepot(options: EntrepotOptions): Promise<EntrepotServer> {
  const { upstream, directory, place, name = "Entrepôt", processes = 1, room, node } = options;
  const port = await freePort();
  const ops = `127.0.0.1:${await freePort()}`;
  const server = await startProgram({
    name,
    command: process.execPath,
    args: [main, "serve", "--offline"],
    env: {
      ENTREPOT_LISTEN: `${place.address}:${port}`,
      ENTREPOT_OPS_LISTEN: ops,
      ENTREPOT_UPSTREAM_URL: upstream.href,
      ENTREPOT_CACHE_DIR: join(directory, "cache"),
      ...(processes === 1 ? {} : { ENTREPOT_WORKERS: String(processes) }),
      ...(room && {
        ENTREPOT_CACHE_MAX_SIZE: `${room.bytes}B`,
        ENTREPOT_CACHE_SMALL_BLOB: `${room.smallBlob}B`,
      }),
      ...(node && {
        ENTREPOT_NODE_NAME: node,
        ENTREPOT_NODE_ADDRESS: `http://${place.address}:${port}`,
      }),
      ...options.env,
    },
    directory,
    place,
    port,
  });
  return { ...server, ops: new URL(`http://${ops}`) };
}

/** One value of the metrics, of a series named with its labels as they stand there; rejects when there is none. */
export async function metricOf(server: EntrepotServer, name: string): Promise<number> {
  const text = await (await fetch(new URL("/metrics", server.ops))).text();
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${name} `));
  if (line === undefined) throw new Error(`${server.name} has no metric ${name}`);
  return Number(line.slice(name.length + 1));
}
