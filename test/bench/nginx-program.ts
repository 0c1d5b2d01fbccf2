// How the bench runs nginx, before it is a mirror or the far registry.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../system/fixtures/free-port.ts";
import type { Place } from "./place.ts";
import { type Server, startProgram } from "./server.ts";

export interface NginxOptions {
  readonly name: string;
  readonly directory: string;
  readonly place: Place;
  /** Worker processes; 1 when left out. */
  readonly processes?: number;
  /** What stands in the `http` block, given the address to listen on. */
  readonly http: (listen: string) => string;
}

/** All its files lie in `directory`. Resolves when it listens. */
export async function startNginx({
  name,
  directory,
  place,
  processes = 1,
  http,
}: NginxOptions): Promise<Server> {
  const port = await freePort();
  const file = join(directory, "nginx.conf");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `  ${kind}_temp_path ${join(directory, kind)};`,
  );
  const lines = [
    "daemon off;",
    // The worker reads directories that only who runs the bench may read.
    ...(process.getuid?.() === 0 ? ["user root;"] : []),
    `worker_processes ${processes};`,
    `pid ${join(directory, "nginx.pid")};`,
    `error_log ${join(directory, "error.log")};`,
    "events { worker_connections 4096; }",
    "http {",
    ...temporary,
    http(`${place.address}:${port}`),
    "}",
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  return await startProgram({
    name,
    // Told to end, and not killed, when the bench is gone: a killed master leaves its worker behind.
    command: "setpriv",
    args: ["--pdeathsig", "TERM", "--", "nginx", "-c", file, "-e", join(directory, "error.log")],
    directory,
    place,
    port,
    stopSignal: "SIGTERM",
  });
}
