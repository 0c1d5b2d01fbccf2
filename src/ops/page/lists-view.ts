// Single requests, repositories and blocked digests worth a look.
import type { StatsDocument } from "../stats/stats-document.ts";
import { duration, number, rate, shortDigest, size } from "./format.ts";
import { h, type PageNode } from "./html.ts";
import { ago, type Cell, section, state, table } from "./parts.ts";

const right = { number: true } as const;
const long = { long: true } as const;

export function slowView({ slow, at }: StatsDocument): PageNode {
  const rows = slow.map((transfer) => [
    { shown: ago(transfer.at, at), by: at - transfer.at },
    { shown: duration(transfer.durationMs), by: transfer.durationMs },
    { shown: size(transfer.sentBytes), by: transfer.sentBytes },
    paceOf(transfer),
    `${transfer.result}, ${transfer.source}`,
    transfer.upstream ?? "–",
    transfer.client,
    h("code", {}, transfer.what),
  ]);
  const columns = [
    { name: "When" },
    { name: "Took", ...right },
    { name: "Size", ...right },
    { name: "Pace", ...right },
    { name: "Origin" },
    { name: "Upstream", ...long },
    { name: "Client", ...long },
    { name: "What", ...long },
  ];
  return section("slow", "Transfers over 5 s", table("Slow transfers", columns, rows, "None lately."));
}

function paceOf({ sentBytes, durationMs }: StatsDocument["slow"][0]): Cell {
  const pace = (sentBytes / Math.max(1, durationMs)) * 1000;
  return { shown: rate(pace), by: pace };
}

export function errorsView({ errors, at }: StatsDocument): PageNode {
  const rows = errors.last.map((error) => [
    { shown: ago(error.at, at), by: at - error.at },
    `${number(error.times)}×`,
    state(error.status >= 500 || error.abortedBy !== null ? "bad" : "warn", String(error.status)),
    [error.upstream ?? "–", error.upstreamStatus === null ? "" : ` (${error.upstreamStatus})`],
    error.client,
    h("code", {}, error.id),
    h("code", { title: error.userAgent ?? undefined }, `${error.method} ${error.what}`),
    [error.reason ?? "", error.abortedBy === null ? "" : ` (cut by ${error.abortedBy})`],
  ]);
  const columns = [
    { name: "When" },
    { name: "Times", ...right },
    { name: "Status" },
    { name: "Upstream", ...long },
    { name: "Client", ...long },
    { name: "Request", ...long },
    { name: "What", ...long },
    { name: "Reason", ...long },
  ] as const;
  return section(
    "errors",
    "Last errors",
    table("Last errors", columns, rows, "None since the start."),
    errors.folded.map(({ status, count, lastAt, lastWhat }) =>
      h(
        "p",
        { class: "note" },
        `${number(count)} × ${status} since the start, the last `,
        ago(lastAt, at),
        ": ",
        h("code", {}, lastWhat),
      ),
    ),
  );
}

export function movedTagsView({ movedTags, at }: StatsDocument): PageNode {
  const rows = movedTags.map((move) => [
    { shown: ago(move.at, at), by: at - move.at },
    move.upstream,
    `${move.repository}:${move.tag}`,
    h("code", { title: move.from }, shortDigest(move.from)),
    h("code", { title: move.to }, shortDigest(move.to)),
    move.by ?? "–",
  ]);
  const columns = [
    { name: "When" },
    { name: "Upstream", ...long },
    { name: "Tag", ...long },
    { name: "From" },
    { name: "To" },
    { name: "Asked by", ...long },
  ];
  return section(
    "moved",
    "Tags that moved in the last day",
    table("Tags that moved", columns, rows, "None that is pulled through here."),
  );
}

export function blockedView({ blocked, at }: StatsDocument): PageNode {
  const rows = [...blocked.last]
    .reverse()
    .map(({ digest, reason, blockedAt, node }) => [
      blockedAt === null ? "by the file" : { shown: ago(blockedAt, at), by: at - blockedAt },
      node ?? "–",
      h("code", { title: digest }, shortDigest(digest)),
      reason,
    ]);
  const columns = [
    { name: "Since" },
    { name: "Commanded at" },
    { name: "Digest", ...long },
    { name: "Reason", ...long },
  ];
  const more = blocked.count - blocked.last.length;
  return section(
    "blocked",
    "Blocked digests",
    table("Blocked digests", columns, rows, "None."),
    more > 0 && h("p", { class: "note" }, `${number(more)} more: entrepot blocked`),
  );
}

export function repositoriesView({ repositories, upstreams, at }: StatsDocument): PageNode {
  const several = upstreams.length > 1;
  const list = (
    label: string,
    unit: string,
    rows: typeof repositories.byBytes,
    format: (n: number) => string,
  ) =>
    table(
      label,
      [{ name: "Repository", ...long }, ...(several ? [{ name: "Upstream" }] : []), { name: unit, ...right }],
      rows.map(({ upstream, repository, weight, over }) => [
        repository,
        ...(several ? [upstream] : []),
        { shown: over > 0 ? `${format(weight - over)} to ${format(weight)}` : format(weight), by: weight },
      ]),
      "None yet.",
    );
  return section(
    "repositories",
    "Top repositories",
    h("p", { class: "note" }, "Counted since ", ago(repositories.since, at), "."),
    h(
      "div",
      { class: "columns" },
      list("Repositories by bytes sent", "Sent", repositories.byBytes, size),
      list("Repositories by misses", "Misses", repositories.byMisses, number),
    ),
  );
}
