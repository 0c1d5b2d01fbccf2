// The clients there are files for, by the names `entrepot client-config` takes.
import { buildkit } from "./buildkit.ts";
import { containerd, dockerCertsD, nerdctl } from "./containerd.ts";
import { docker } from "./docker.ts";
import { kaniko } from "./kaniko.ts";
import { kind, minikube } from "./local-clusters.ts";
import type { ClientMirror, ClientSetup, ClientWishes } from "./mirror.ts";
import { k3s, rke2 } from "./rancher.ts";
import { buildah, crio, podman } from "./registries-conf.ts";
import { talos } from "./talos.ts";

type MakeSetup = (mirror: ClientMirror, wishes: ClientWishes) => ClientSetup;

const clients = {
  docker,
  "docker-certs.d": dockerCertsD,
  containerd,
  podman,
  crio,
  buildkit,
  k3s,
  rke2,
  kaniko,
  buildah,
  nerdctl,
  kind,
  minikube,
  talos,
} as const satisfies Record<string, MakeSetup>;

export type ClientName = keyof typeof clients;

export const clientNames = Object.keys(clients) as readonly ClientName[];

/** Clients whose files may hold a login; the others log in by a command of their own. */
export const clientsWithLogin: readonly ClientName[] = [
  "docker-certs.d",
  "containerd",
  "k3s",
  "rke2",
  "kaniko",
  "nerdctl",
  "kind",
  "minikube",
  "talos",
];

export function isClient(name: string): name is ClientName {
  return Object.hasOwn(clients, name);
}

/** Throws ClientProblem where the client cannot be given what is wished. */
export function clientSetup(client: ClientName, mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  return clients[client](mirror, wishes);
}
