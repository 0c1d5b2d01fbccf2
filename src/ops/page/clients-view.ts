// What a node that nobody has asked for anything yet shows first: how clients are pointed at it, as `entrepot client-config`
// prints it (docs/client-setup.md).
import type { StatsDocument } from "../stats/stats-document.ts";
import { h, type PageNode } from "./html.ts";
import { copyable, section } from "./parts.ts";

/** Hidden, in its place, once there has been a request within a day: charts lose nothing when what is before them goes. */
export function clientsView({ node, traffic, clients }: StatsDocument): PageNode {
  if (traffic.windows["24h"].requests > 0) return h("section", { id: "clients", hidden: true });
  const { host } = new URL(node.mirrorUrl);
  const way = (title: string, ...content: readonly PageNode[]) => h("div", {}, h("h3", {}, title), content);
  const note = (text: string) => h("p", { class: "note" }, text);
  return section(
    "clients",
    "Nobody has pulled from here yet: point clients at it",
    h(
      "div",
      { class: "columns" },
      way("Any client", note("By the mirror's name."), copyable(`docker pull ${host}/team/app:1.0`)),
      clients.map(({ client, files, more, restart }) =>
        way(
          client,
          ...files.flatMap(({ path, text }) => [note(`In ${path}.`), copyable(text.trimEnd())]),
          ...(more > 0 ? [note(`And ${more} more: entrepot client-config ${client}.`)] : []),
          note(`Then: ${restart}.`),
        ),
      ),
    ),
    note("BuildKit, CRI-O, k3s, RKE2 and others, and authorities and logins: entrepot client-config --help."),
  );
}
