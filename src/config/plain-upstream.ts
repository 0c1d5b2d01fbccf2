// An upstream with nothing special about it: what every setting comes to when only a name and a URL are given.
import type { UpstreamConfig } from "./config.ts";

/** Names of Docker Hub in image references; its registry has another host. */
const dockerHub = {
  namespace: "docker.io",
  host: "registry-1.docker.io",
  /** What docker login calls it. */
  login: "https://index.docker.io/v1/",
};

/** Docker Hub's own names when `url` is Docker Hub's: `docker.io` as namespace, and `library/` for short names. */
export function plainUpstream(name: string, url: URL): UpstreamConfig {
  const isHub = isDockerHub(url);
  return {
    name,
    url,
    auth: { kind: "none" },
    tokenRealms: [],
    connectTimeout: 5_000,
    firstByteTimeout: 30_000,
    idleTimeout: 30_000,
    maxConnections: 64,
    segments: 8,
    repositoryPrefix: "",
    routing: {
      component: undefined,
      namespaces: isHub ? [dockerHub.namespace] : [],
      hosts: [],
      library: isHub,
      allow: [],
      deny: [],
      next: undefined,
    },
    tags: { ttl: undefined, rules: [] },
    push: false,
  };
}

/** The name docker login stores credentials of a registry under. */
export function helperRegistry(url: URL): string {
  return isDockerHub(url) ? dockerHub.login : url.host;
}

function isDockerHub(url: URL): boolean {
  return url.hostname === dockerHub.host;
}
