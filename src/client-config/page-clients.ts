// What the status page of an empty node shows of the clients asked for most; `entrepot client-config` prints the same.
import type { Config } from "../config/config.ts";
import { type ClientName, clientSetup } from "./clients.ts";
import { ClientProblem } from "./mirror.ts";
import { mirrorOfConfig } from "./mirror-of-config.ts";

export interface PageClient {
  readonly client: ClientName;
  readonly files: readonly { readonly path: string; readonly text: string }[];
  /** Files that are not shown. */
  readonly more: number;
  /** What has to be started again. */
  readonly restart: string;
}

const shownClients: readonly ClientName[] = ["docker", "containerd", "podman"];
/** Of one client: containerd has a file for each registry. */
const maxFiles = 3;

/** Those that there are files for. `url`: how clients reach the mirror. */
export function pageClients(
  config: Pick<Config, "upstreams" | "access" | "listenTls">,
  url: string,
): PageClient[] {
  const mirror = mirrorOfConfig(config, new URL(url));
  return shownClients.flatMap((client) => {
    try {
      const { files, restart } = clientSetup(client, mirror, { fallback: true });
      const shown = files.slice(0, maxFiles).map(({ path, text }) => ({ path, text }));
      return [{ client, files: shown, more: files.length - shown.length, restart }];
    } catch (error) {
      if (error instanceof ClientProblem) return [];
      throw error;
    }
  });
}
