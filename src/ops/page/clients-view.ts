// What a node that nobody has asked for anything yet shows first: how clients are pointed at it (docs/client-setup.md).
import type { StatsDocument } from "../stats/stats-document.ts";
import { h, type PageNode } from "./html.ts";
import { copyable, section } from "./parts.ts";

/** Hidden, in its place, once there has been a request within a day: charts lose nothing when what is before them goes. */
export function clientsView({ node, traffic }: StatsDocument): PageNode {
  if (traffic.windows["24h"].requests > 0) return h("section", { id: "clients", hidden: true });
  const { origin, host, protocol } = new URL(node.mirrorUrl);
  const plain = protocol === "http:";
  const daemon = {
    "registry-mirrors": [origin],
    ...(plain ? { "insecure-registries": [host] } : {}),
  };
  const hosts = `server = "https://registry.example.com"\n[host."${origin}"]\n  capabilities = ["pull", "resolve"]`;
  const registries = `[[registry]]\nlocation = "registry.example.com"\n[[registry.mirror]]\nlocation = "${host}"${plain ? "\ninsecure = true" : ""}`;
  const way = (title: string, where: string, text: string) =>
    h("div", {}, h("h3", {}, title), h("p", { class: "note" }, where), copyable(text));
  return section(
    "clients",
    "Nobody has pulled from here yet: point clients at it",
    h(
      "div",
      { class: "columns" },
      way("Any client", "By the mirror's name.", `docker pull ${host}/team/app:1.0`),
      way("docker", "Docker Hub's names, in /etc/docker/daemon.json.", JSON.stringify(daemon, null, 2)),
      way("containerd", "In /etc/containerd/certs.d/registry.example.com/hosts.toml.", hosts),
      way("podman, CRI-O, skopeo", "In /etc/containers/registries.conf.", registries),
    ),
  );
}
