// What goes through, what it saved, and where answers came from.
import type { StatsDocument } from "../stats/stats-document.ts";
import { number, rate, share, size } from "./format.ts";
import { h, type PageNode } from "./html.ts";
import { bar, fact, facts, section, table } from "./parts.ts";

const windows = [
  ["5m", "5 min", 300],
  ["1h", "1 h", 3600],
  ["24h", "24 h", 86_400],
] as const;

export function trafficView({ traffic, at, node }: StatsDocument): PageNode {
  const hour = traffic.windows["1h"];
  const day = traffic.windows["24h"];
  // A node that has not run for as long has had less time for the same bytes; 240 s: the step under way counts in.
  const over = (seconds: number) =>
    Math.max(1, Math.min(seconds, seconds === 300 ? 240 : seconds, (at - node.startedAt) / 1000));
  const rows = windows.map(([key, name, seconds]) => {
    const window = traffic.windows[key];
    return [
      { shown: name, by: seconds },
      number(window.requests),
      { shown: size(window.sentBytes), by: window.sentBytes },
      { shown: size(window.fetchedBytes), by: window.fetchedBytes },
      { shown: h("b", {}, size(window.savedBytes)), by: window.savedBytes },
      key === "24h"
        ? ""
        : { shown: rate(window.sentBytes / over(seconds)), by: window.sentBytes / over(seconds) },
      share(window.hitRatio),
      share(window.layerHitRatio),
      share(window.manifestHitRatio),
      share(window.byteHitRatio),
      number(window.failed),
    ];
  });
  const columns = [
    "Requests",
    "Sent",
    "Fetched",
    "Saved",
    "Sent per s",
    "Hit ratio",
    "of layers",
    "of manifests",
    "of bytes",
    "Failed",
  ];
  return section(
    "traffic",
    "Traffic",
    facts(
      fact("Saved in 24 h", size(day.savedBytes), `of ${size(day.sentBytes)} sent`),
      fact("Hit ratio, 1 h", share(hour.hitRatio), "of layers and manifests read"),
      fact("Byte hit ratio, 1 h", share(hour.byteHitRatio), "of bytes sent"),
      fact("Requests in 1 h", number(hour.requests), `${number(traffic.inFlight)} under way`),
    ),
    h(
      "div",
      { class: "columns" },
      chart("bandwidth", "Sent to clients (up), fetched from upstreams (down); times are UTC"),
      chart("requests", "Requests per second; times are UTC"),
    ),
    table(
      "Traffic",
      [{ name: "Last" }, ...columns.map((name) => ({ name, number: true as const }))],
      rows,
      "",
    ),
    h(
      "p",
      { class: "note" },
      "Hit ratio: reads of layers and manifests answered from here (hit, revalidated, stale), among those and what was fetched (miss, joined). Of bytes: the share of what was sent that was not fetched meanwhile. The table of origins counts every answer, refusals and probes for what is absent too.",
    ),
  );
}

/** Where answers came from, in the order of the stack and the legend. */
export const origins = [
  ["hit", "from the cache"],
  ["revalidated", "confirmed upstream, body from the cache"],
  ["stale", "stale, as upstream failed"],
  ["joined", "shared a running download"],
  ["miss", "fetched from upstream"],
  ["pass", "passed through"],
  ["negative", "known not to be there"],
  ["denied", "refused"],
  ["error", "failed"],
  ["aborted", "the client left"],
] as const;

export function originView({ traffic }: StatsDocument): PageNode {
  const { results } = traffic.windows["1h"];
  const total = Math.max(
    1,
    origins.reduce((sum, [result]) => sum + results[result], 0),
  );
  const rows = origins
    .filter(([result]) => results[result] > 0 || traffic.windows["24h"].results[result] > 0)
    .map(([result, words]) => [
      h("span", {}, h("span", { class: `swatch ${result}`, "aria-hidden": "true" }), ` ${result}`),
      words,
      number(results[result]),
      share(results[result] / total),
      bar(`${result}, share of the answers`, results[result] / total, result),
      number(traffic.windows["24h"].results[result]),
    ]);
  const columns = [
    { name: "Origin" },
    { name: "Meaning" },
    { name: "1 h", number: true as const },
    { name: "Share of all answers", number: true as const },
    { name: "Bar" },
    { name: "24 h", number: true as const },
  ];
  return section(
    "origin",
    "Where answers came from",
    chart("origins", "Answers per second by origin; times are UTC"),
    table("Origins of answers", columns, rows, "No answers yet."),
  );
}

/** Drawn by the browser, which also takes the place's label away when it cannot. */
function chart(name: string, label: string): PageNode {
  return h(
    "figure",
    { class: "chart", id: `chart-${name}`, "aria-label": label, hidden: true, "data-keep": "" },
    h("figcaption", {}, label),
  );
}
