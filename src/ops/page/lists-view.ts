// Single requests and repositories worth a look.
import type { StatsDocument } from "../stats/stats-document.ts";
import { duration, number, rate, size } from "./format.ts";
import { h, type PageNode } from "./html.ts";
import { ago, section, state, table } from "./parts.ts";

const right = { number: true } as const;

export function slowView({ slow, at }: StatsDocument): PageNode {
  const rows = slow.map((transfer) => [
    ago(transfer.at, at),
    duration(transfer.durationMs),
    size(transfer.sentBytes),
    rate((transfer.sentBytes / Math.max(1, transfer.durationMs)) * 1000),
    `${transfer.result}, ${transfer.source}`,
    transfer.client,
    h("code", {}, transfer.what),
  ]);
  const columns = [
    { name: "When" },
    { name: "Took", ...right },
    { name: "Size", ...right },
    { name: "Pace", ...right },
    { name: "Origin" },
    { name: "Client" },
    { name: "What" },
  ];
  return section("slow", "Transfers over 5 s", table("Slow transfers", columns, rows, "None lately."));
}

export function errorsView({ errors, at }: StatsDocument): PageNode {
  const rows = errors.last.map((error) => [
    ago(error.at, at),
    error.times === 1 ? "" : `${number(error.times)}×`,
    state(error.status >= 500 || error.abortedBy !== null ? "bad" : "warn", String(error.status)),
    error.method,
    h("code", { title: error.userAgent ?? undefined }, error.what),
    [error.reason ?? "", error.abortedBy === null ? "" : ` (cut by ${error.abortedBy})`],
    error.upstreamStatus ?? "",
    error.client,
    h("code", {}, error.id),
  ]);
  const names = ["When", "", "Status", "Method", "What", "Reason", "Upstream", "Client", "Request"];
  return section(
    "errors",
    "Last errors",
    table(
      "Last errors",
      names.map((name) => ({ name })),
      rows,
      "None since the start.",
    ),
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

export function repositoriesView({ repositories, at }: StatsDocument): PageNode {
  const list = (
    label: string,
    unit: string,
    rows: typeof repositories.byBytes,
    format: (n: number) => string,
  ) =>
    table(
      label,
      [{ name: label }, { name: unit, ...right }],
      rows.map(({ upstream, repository, weight, over }) => [
        h("span", { title: upstream }, repository),
        over > 0 ? `${format(weight - over)} to ${format(weight)}` : format(weight),
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
      list("By bytes sent", "Sent", repositories.byBytes, size),
      list("By misses", "Misses", repositories.byMisses, number),
    ),
  );
}
