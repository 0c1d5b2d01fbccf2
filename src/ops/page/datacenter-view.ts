// The nodes of the datacenter, and their sums. Hidden for a node that is alone.
import type { NodeRow } from "../stats/datacenter.ts";
import type { StatsDocument } from "../stats/stats-document.ts";
import { count, duration, number, share, size } from "./format.ts";
import { type Content, h, type PageNode } from "./html.ts";
import { ago, section, state, table } from "./parts.ts";

const right = { number: true } as const;

export function datacenterView({ datacenter: { nodes, totals, at } }: StatsDocument): PageNode {
  // It keeps its place, so that what follows is not made anew when another node comes.
  if (nodes.length === 1) return h("section", { id: "datacenter", hidden: true });
  const columns = [
    { name: "Node" },
    { name: "State" },
    { name: "Version" },
    { name: "Under way", ...right },
    { name: "Requests, 1 h", ...right },
    { name: "Hits, 1 h", ...right },
    { name: "Sent, 1 h", ...right },
    { name: "Fetched, 1 h", ...right },
    { name: "Store", ...right },
    { name: "Blobs", ...right },
  ];
  const there = totals.nodes - totals.unreachable;
  const all = [
    h("b", {}, count(there, "node")),
    totals.unreachable > 0 ? `${totals.unreachable} unreachable` : "",
    "",
    ...numbers(totals),
  ];
  return section(
    "datacenter",
    "Datacenter",
    table("Nodes", columns, [...nodes.map((row) => nodeRow(row, at)), all], ""),
    h("p", { class: "note" }, "Sums are of the nodes that answer. Everything below is of this node."),
  );
}

function nodeRow(row: NodeRow, now: number): Content[] {
  const { name, self, version, address, at, startedAt } = row;
  const up = `up ${duration(at - startedAt)}`;
  return [
    [h("b", { title: address ?? undefined }, name), self && " (this node)"],
    stateOf(row, now),
    [version, h("small", {}, ` ${up}`)],
    ...(row.state === "unreachable" ? Array(7).fill("–") : numbers(row)),
  ];
}

function numbers({ inFlight, lastHour, store }: Pick<NodeRow, "inFlight" | "lastHour" | "store">): string[] {
  return [
    number(inFlight),
    number(lastHour.requests),
    lastHour.hitRatio === null ? "–" : share(lastHour.hitRatio),
    size(lastHour.sentBytes),
    size(lastHour.fetchedBytes),
    `${size(store.usedBytes)} of ${size(store.limitBytes)}`,
    number(store.objects),
  ];
}

function stateOf({ state: is, verdict, unreachableSince }: NodeRow, now: number): Content {
  if (is === "unreachable") return [state("bad", "unreachable"), ", last heard ", ago(unreachableSince, now)];
  if (is === "draining") return state("warn", "draining");
  if (is === "not_ready") return state("bad", "not ready");
  if (verdict.level === "ok") return state("ok", "up");
  const [reason] = verdict.reasons;
  return h("span", { title: reason }, state(verdict.level === "down" ? "bad" : "warn", verdict.level));
}
