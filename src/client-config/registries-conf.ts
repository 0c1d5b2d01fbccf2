// registries.conf of podman, buildah, skopeo and CRI-O (containers-registries.conf(5)): one file for all of them.
import {
  type ClientFile,
  type ClientMirror,
  type ClientSetup,
  type ClientWishes,
  hostOf,
  isPlain,
} from "./mirror.ts";
import { certificateNotes, loginNotes, mirrorHosts, type Way, waysOf } from "./ways.ts";

const path = "/etc/containers/registries.conf.d/50-entrepot.conf";

/** Throws ClientProblem where there is no way to any registry. */
export function podman(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  return setup("podman", mirror, wishes, "nothing: podman reads the file at each pull", [
    `podman login ${hostOf(mirror)}`,
  ]);
}

/** Throws ClientProblem where there is no way to any registry. */
export function buildah(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  return setup("buildah", mirror, wishes, "nothing: buildah and skopeo read the file at each pull", [
    `buildah login ${hostOf(mirror)}`,
  ]);
}

/** Throws ClientProblem where there is no way to any registry. */
export function crio(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  return setup("CRI-O", mirror, wishes, "systemctl reload crio", [
    `podman login --authfile /etc/crio/auth.json ${hostOf(mirror)}, and global_auth_file = "/etc/crio/auth.json"`,
    "below [crio.image] in a file of /etc/crio/crio.conf.d",
  ]);
}

function setup(
  client: string,
  mirror: ClientMirror,
  { fallback }: ClientWishes,
  restart: string,
  login: readonly string[],
): ClientSetup {
  const { ways, notes } = waysOf(mirror, { client, namespace: false, path: "after" });
  const { ca } = mirror;
  const authorities = mirrorHosts(ways).flatMap((host): ClientFile[] =>
    ca === undefined ? [] : [{ path: `/etc/containers/certs.d/${host}/ca.crt`, text: ca }],
  );
  return {
    files: [{ path, text: registriesConf(ways, { fallback, plain: isPlain(mirror) }) }, ...authorities],
    restart,
    notes: [
      ...notes,
      ...loginNotes(ways, login.join(" ")),
      ...(fallback
        ? [
            `${client} takes every layer from where the manifest came from: manifestsWithoutLayers (docs/behaviour.md) is for it`,
          ]
        : []),
      ...certificateNotes(mirror),
    ],
  };
}

/** The mirror itself is a registry of the file, too, where it speaks plain HTTP: for pulls by its name. */
function registriesConf(
  ways: readonly Way[],
  { fallback, plain }: { fallback: boolean; plain: boolean },
): string {
  const insecure = plain ? ["insecure = true"] : [];
  const location = (text: string) => `location = ${JSON.stringify(text)}`;
  const tables = ways.map(({ registry: { host, server }, url }) => {
    const at = location(`${url.host}${url.pathname.replace(/\/+$/, "")}`);
    if (!fallback) return ["[[registry]]", `prefix = ${JSON.stringify(host)}`, at, ...insecure];
    const own = server.startsWith("http:") ? ["insecure = true"] : [];
    return ["[[registry]]", location(host), ...own, "", "[[registry.mirror]]", at, ...insecure];
  });
  const byName = plain ? mirrorHosts(ways).map((host) => ["[[registry]]", location(host), ...insecure]) : [];
  return `${[...tables, ...byName].map((lines) => lines.join("\n")).join("\n\n")}\n`;
}
