// The page's live part: everything that follows from the document, in the order somebody on call asks.
import type { StatsDocument } from "../stats/stats-document.ts";
import { nodeView, upstreamsView, verdictView } from "./health-view.ts";
import { h, type PageNode } from "./html.ts";
import { errorsView, repositoriesView, slowView } from "./lists-view.ts";
import { fillsView, storeView } from "./store-view.ts";
import { originView, trafficView } from "./traffic-view.ts";

export function liveView(document: StatsDocument): PageNode {
  const views = [
    verdictView,
    upstreamsView,
    trafficView,
    storeView,
    fillsView,
    slowView,
    errorsView,
    repositoriesView,
    originView,
    nodeView,
  ];
  return h(
    "div",
    { id: "live" },
    views.map((view) => view(document)),
  );
}
