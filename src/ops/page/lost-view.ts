// What stands in the verdict's place when the node does not answer the page that is open.
import { duration } from "./format.ts";
import { h, type PageNode } from "./html.ts";
import { state } from "./parts.ts";

/** `silent`: milliseconds since something was heard of the node. */
export function lostView(silent: number): PageNode {
  return h(
    "section",
    { id: "verdict", class: "bad", role: "status", "aria-label": "Verdict" },
    h("h2", {}, state("bad", "No answer")),
    h("ul", {}, h("li", {}, `nothing has been heard of this node for ${duration(silent)}`)),
    h("p", { class: "note" }, "What is shown below was so before."),
  );
}
