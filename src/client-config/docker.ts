// docker's daemon.json: a mirror of Docker Hub's names, and of no other registry's (docs/clients.md 6, 42).
import {
  baseOf,
  type ClientMirror,
  ClientProblem,
  type ClientSetup,
  type ClientWishes,
  hostOf,
  isBefore,
  isPlain,
  type MirroredRegistry,
} from "./mirror.ts";
import { certificateNotes, loginNeeded, mirrorHosts, type Way, waysOf } from "./ways.ts";

const path = "/etc/docker/daemon.json";

/** Throws ClientProblem where docker cannot be given what is wished. */
export function docker(mirror: ClientMirror, { fallback, version }: ClientWishes): ClientSetup {
  if (!fallback)
    throw new ClientProblem(
      `docker asks Docker Hub itself when a registry mirror fails, and nothing in ${path} forbids it: ` +
        `pull by the mirror's name (docker pull ${hostOf(mirror)}/...), or, with the containerd image store of docker 28 and later, ` +
        "use entrepot client-config docker-certs.d --no-fallback",
    );
  const way = hubWay(mirror, version);
  const needsLogin =
    way === undefined ? mirror.registries.some((each) => each.asksForLogin) : loginNeeded([way]);
  const mirrored = way === undefined || needsLogin ? undefined : way;
  const hosts = isPlain(mirror)
    ? [...new Set([hostOf(mirror), ...mirrorHosts(mirrored ? [mirrored] : [])])]
    : [];
  const hasSettings = mirrored !== undefined || hosts.length > 0;
  if (!hasSettings && mirror.ca === undefined)
    throw new ClientProblem(
      `there is nothing to write into ${path}: ${needsLogin ? asksNote(mirror) : noHubNote(mirror)}`,
    );
  const settings = {
    ...(mirrored && { "registry-mirrors": [baseOf(mirrored.url)] }),
    ...(hosts.length > 0 && { "insecure-registries": hosts }),
  };
  return {
    files: [
      ...(hasSettings ? [{ path, text: `${JSON.stringify(settings, undefined, 2)}\n` }] : []),
      ...(mirror.ca === undefined
        ? []
        : [{ path: `/etc/docker/certs.d/${hostOf(mirror)}/ca.crt`, text: mirror.ca }]),
    ],
    restart: hasSettings ? "systemctl restart docker" : "nothing: docker reads the authority at each pull",
    notes: [
      ...(mirrored
        ? [
            `docker asks a registry mirror for Docker Hub's names only; others are pulled as ${hostOf(mirror)}/...`,
          ]
        : [needsLogin ? asksNote(mirror) : noHubNote(mirror)]),
      ...(mirrored && mirrored.url.pathname !== "/"
        ? ["docker before 24.0.8 takes no path in a mirror's URL and does not start"]
        : []),
      ...(hasSettings ? [`where there is a ${path} already, put these keys into it`] : []),
      ...certificateNotes(mirror),
    ],
  };
}

/** Base URL for docker's mirror list; undefined where this mirror has none of its names, or no address for them. */
export function registryMirror(mirror: ClientMirror): string | undefined {
  try {
    const way = hubWay(mirror, undefined);
    return way && baseOf(way.url);
  } catch (error) {
    if (!(error instanceof ClientProblem)) throw error;
    return undefined;
  }
}

/** To Docker Hub's names, or to those of the default upstream where no upstream says which names it stands for. */
function hubWay(mirror: ClientMirror, version: readonly number[] | undefined): Way | undefined {
  const { registries } = mirror;
  const isHub = ({ host }: MirroredRegistry) => host === "docker.io";
  const registry =
    registries.find(isHub) ??
    registries.find(({ isDefault, namespace }) => isDefault && namespace === "ignored");
  if (registry === undefined) return undefined;
  const takesPath = !isBefore(version, 24, 0, 8);
  return waysOf(
    { ...mirror, registries: [registry] },
    { client: "docker", namespace: false, path: takesPath ? "before" : "none", hostsFirst: true },
  ).ways[0];
}

function asksNote(mirror: ClientMirror): string {
  return (
    "docker sends a registry mirror that asks for a login its login of Docker Hub and no other: " +
    `docker login ${hostOf(mirror)}, and pull as ${hostOf(mirror)}/..., or use entrepot client-config docker-certs.d`
  );
}

function noHubNote(mirror: ClientMirror): string {
  return (
    "docker asks registry mirrors for Docker Hub's names only, and this mirror has none of them: " +
    `pull as ${hostOf(mirror)}/..., or use entrepot client-config docker-certs.d`
  );
}
