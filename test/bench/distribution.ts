// CNCF Distribution as a pull-through cache: Debian's package, or any newer binary. Settings as its documentation
// advises for production: descriptors of blobs kept in memory, log level error, no access log.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { run } from "../system/fixtures/child.ts";
import { freePort } from "../system/fixtures/free-port.ts";
import { type Server, type ServerOptions, startProgram } from "./server.ts";

/** Debian's name of the program. */
export const debianRegistry = "docker-registry";

export interface DistributionOptions extends ServerOptions {
  /** Path or name of the program; Debian's unless given. */
  readonly program?: string;
  readonly name?: string;
}

/** Resolves when it listens. */
export async function startDistribution(options: DistributionOptions): Promise<Server> {
  const { upstream, directory, place, program = debianRegistry, name = "Distribution" } = options;
  const port = await freePort();
  const file = join(directory, "registry.yml");
  const settings = {
    version: "0.1",
    log: { level: "error", accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(directory, "cache") },
      cache: { blobdescriptor: "inmemory" },
    },
    http: { addr: `${place.address}:${port}`, secret: "bench" },
    proxy: { remoteurl: upstream.origin },
  };
  await writeFile(file, stringify(settings));
  return await startProgram({
    name,
    command: program,
    args: ["serve", file],
    // Version 3 sends traces to an address of its own unless told not to.
    env: { OTEL_TRACES_EXPORTER: "none" },
    directory,
    place,
    port,
  });
}

/** Its version, as `2.8.2` or `3.1.1`. Rejects when the program is none of Distribution's. */
export async function versionOfDistribution(program: string): Promise<string> {
  const said = await run(program, ["--version"]);
  const version = /distribution\/?\S*\s+v?(\d[\d.]*)/.exec(said)?.[1];
  if (version === undefined) throw new Error(`${program} --version says: ${said}`);
  return version;
}
