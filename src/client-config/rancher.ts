// registries.yaml of k3s and RKE2, of which both make containerd's hosts.toml (k3s, pkg/agent/containerd/config.go). A path of an
// endpoint is taken as it is there, so that it has to end in /v2.
import { stringify } from "yaml";
import { baseOf, type ClientFile, type ClientMirror, type ClientSetup, type ClientWishes } from "./mirror.ts";
import { accessNotes, mirrorHosts, waysOf } from "./ways.ts";

/** Throws ClientProblem where there is no way to any registry. */
export function k3s(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  return rancher("k3s", "k3s", "systemctl restart k3s, on agents k3s-agent", mirror, wishes);
}

/** Throws ClientProblem where there is no way to any registry. */
export function rke2(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  return rancher("RKE2", "rke2", "systemctl restart rke2-server, on agents rke2-agent", mirror, wishes);
}

function rancher(
  client: string,
  name: string,
  restart: string,
  mirror: ClientMirror,
  { fallback, login }: ClientWishes,
): ClientSetup {
  const { ways, notes } = waysOf(mirror, { client, namespace: true, path: "before" });
  const directory = `/etc/rancher/${name}`;
  const { ca } = mirror;
  const authority = `${directory}/entrepot-ca.crt`;
  const config = {
    ...(login && { auth: { username: login.username, password: login.password } }),
    ...(ca === undefined ? {} : { tls: { ca_file: authority } }),
  };
  const mirrors = Object.fromEntries(
    ways.map(({ registry, url }) => [
      registry.host,
      { endpoint: [url.pathname === "/" ? baseOf(url) : `${baseOf(url)}/v2`] },
    ]),
  );
  const configs = Object.fromEntries(mirrorHosts(ways).map((host) => [host, config]));
  const files: ClientFile[] = [
    {
      path: `${directory}/registries.yaml`,
      text: stringify({ mirrors, ...(Object.keys(config).length === 0 ? {} : { configs }) }),
      ...(login && { secret: true }),
    },
    ...(ca === undefined ? [] : [{ path: authority, text: ca }]),
    ...(fallback
      ? []
      : [
          {
            path: `${directory}/config.yaml.d/50-entrepot.yaml`,
            text: stringify({ "disable-default-registry-endpoint": true }),
          },
        ]),
  ];
  return {
    files,
    restart,
    notes: [
      ...notes,
      ...(fallback
        ? []
        : [`${client} since January 2024 knows disable-default-registry-endpoint (v1.29.1, v1.28.6)`]),
      ...accessNotes(mirror, ways, {
        login,
        where:
          "it goes below configs in registries.yaml; --username NAME --password-file FILE writes it there",
      }),
    ],
  };
}
