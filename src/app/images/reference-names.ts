// What references to images may name, by the configuration.
import type { Config } from "../../config/config.ts";
import type { ReferenceNames } from "../../ops/stats/image-reference.ts";

export function referenceNames(
  config: Pick<Config, "upstreams" | "node" | "listen" | "opsHosts" | "opsPage">,
): ReferenceNames {
  const { upstreams, node, listen, opsHosts = [], opsPage } = config;
  const urls = [node.address, opsPage?.mirror].flatMap((url) =>
    url === undefined ? [] : [new URL(url).hostname],
  );
  const own = [node.name, ...urls, ...opsHosts].map((name) => name.toLowerCase());
  // Port 0 is any that is free, in tests.
  const port = "port" in listen && listen.port !== 0 ? listen.port : undefined;
  return { upstreams, own, port };
}
