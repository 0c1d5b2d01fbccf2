// Clusters on one machine, whose nodes have containerd: kind mounts its files into the nodes, minikube copies them.
import { stringify } from "yaml";
import { referrersSince } from "./containerd.ts";
import { registryMirror } from "./docker.ts";
import { hostsFiles } from "./hosts-toml.ts";
import { type ClientMirror, type ClientSetup, type ClientWishes, isPlain } from "./mirror.ts";

/** Where the nodes of both have the files. */
const directory = "/etc/containerd/certs.d";

/** Throws ClientProblem where there is no way to any registry. */
export function kind(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  const put = "/etc/kind/certs.d";
  const { files, notes } = hostsFiles(mirror, wishes, { client: "kind", directory, put, referrersSince });
  const cluster = {
    kind: "Cluster",
    apiVersion: "kind.x-k8s.io/v1alpha4",
    nodes: [
      {
        role: "control-plane",
        extraMounts: [{ hostPath: put, containerPath: directory, readOnly: true }],
      },
    ],
  };
  const path = "/etc/kind/entrepot.yaml";
  return {
    files: [{ path, text: stringify(cluster) }, ...files],
    restart: `kind create cluster --config ${path}`,
    notes: [
      "each further node of the cluster needs the same extraMounts; nodes of kind 0.27 and later read the directory by themselves",
      ...(isLoopback(mirror) ? [loopbackNote(mirror)] : []),
      ...notes,
    ],
  };
}

/** Throws ClientProblem where there is no way to any registry. */
export function minikube(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  const put = `~/.minikube/files${directory}`;
  const made = hostsFiles(mirror, wishes, { client: "minikube", directory, put, referrersSince });
  return {
    files: made.files,
    restart: "minikube start --container-runtime=containerd",
    notes: [...dockerNotes(mirror), ...(isLoopback(mirror) ? [loopbackNote(mirror)] : []), ...made.notes],
  };
}

function dockerNotes(mirror: ClientMirror): string[] {
  const url = registryMirror(mirror);
  if (url === undefined) return [];
  const insecure = isPlain(mirror) ? ` --insecure-registry=${new URL(url).host}` : "";
  return [
    `with docker in the node instead there is no file, and Docker Hub's names only: minikube start --registry-mirror=${url}${insecure}`,
  ];
}

function isLoopback({ url }: ClientMirror): boolean {
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
}

function loopbackNote({ url }: ClientMirror): string {
  return `${url.hostname} is the node itself there: name the mirror as the node reaches it, with --mirror`;
}
