// The page's live part: everything that follows from the document, in the order somebody on call asks.
import type { StatsDocument } from "../stats/stats-document.ts";
import { clientsView } from "./clients-view.ts";
import { datacenterView } from "./datacenter-view.ts";
import { explainPlace } from "./explain-view.ts";
import { nodeView, upstreamsView, verdictView } from "./health-view.ts";
import { h, type PageNode } from "./html.ts";
import { blockedView, errorsView, movedTagsView, repositoriesView, slowView } from "./lists-view.ts";
import { savingsView } from "./savings-view.ts";
import { fillsView, storeView } from "./store-view.ts";
import { originView, trafficView } from "./traffic-view.ts";

/** `explain`: the box below the verdict, left out where it is shown already. */
export function liveView(document: StatsDocument, explain: PageNode = explainPlace): PageNode {
  const views = [
    datacenterView,
    clientsView,
    upstreamsView,
    trafficView,
    storeView,
    fillsView,
    slowView,
    errorsView,
    movedTagsView,
    repositoriesView,
    originView,
    savingsView,
    blockedView,
    nodeView,
  ];
  return h(
    "div",
    { id: "live" },
    verdictView(document),
    explain,
    views.map((view) => view(document)),
  );
}
