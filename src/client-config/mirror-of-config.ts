// The mirror of a configuration as its clients see it, or of an address alone.
import { asksForNames, type Config, type UpstreamConfig } from "../config/config.ts";
import type { ClientMirror, MirroredRegistry } from "./mirror.ts";

const dockerHub = { host: "docker.io", server: "https://registry-1.docker.io" } as const;

/** Every upstream, by the hosts of the names that clients pull from it. `ca`: PEM of the authority of its certificate. */
export function mirrorOfConfig(
  config: Pick<Config, "upstreams" | "access" | "listenTls">,
  url: URL,
  ca?: string,
): ClientMirror {
  const { upstreams, access, listenTls } = config;
  const anyNamespace = upstreams.some(({ namespaces }) => namespaces.length > 0);
  const registries = upstreams.flatMap((upstream, at) =>
    hostsOf(upstream).map((host): MirroredRegistry => {
      const { name, component, hosts, namespaces } = upstream;
      return {
        host,
        server: serverOf(host, upstream),
        upstream: name,
        isDefault: at === 0,
        namespace: namespaces.includes(host) ? "leads" : anyNamespace ? "refused" : "ignored",
        prefix: name,
        component,
        hosts,
        asksForLogin: asksForNames(access) || upstream.access === "passthrough",
      };
    }),
  );
  return { url, registries, ca, wantsCertificate: listenTls?.clientsNeedOne ?? false };
}

/** What clients mean by `?ns=` when they want it; where nothing says so, its own host. */
function hostsOf({ namespaces, url }: UpstreamConfig): readonly string[] {
  return namespaces.length > 0 ? namespaces : [url.host];
}

function serverOf(host: string, { url }: UpstreamConfig): string {
  if (host === dockerHub.host) return dockerHub.server;
  return host === url.host ? url.origin : `https://${host}`;
}

/**
 * A mirror of which no more is known than where it is. The first of several hosts is taken for that of its default upstream, and
 * the others for namespaces it knows.
 */
export function mirrorAt(url: URL, hosts: readonly string[], ca?: string): ClientMirror {
  const registries = hosts.map(
    (host, at): MirroredRegistry => ({
      host,
      server: host === dockerHub.host ? dockerHub.server : `https://${host}`,
      isDefault: at === 0,
      namespace: hosts.length > 1 ? "leads" : "ignored",
      hosts: [],
      asksForLogin: false,
    }),
  );
  return { url, registries, ca };
}
