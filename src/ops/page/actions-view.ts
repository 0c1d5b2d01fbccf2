// What can be done with an image from the page, and what has come of it.
import { type Content, h, type PageNode } from "./html.ts";
import { state } from "./parts.ts";

export interface ActionButton {
  readonly name: "warm";
  readonly label: string;
  /** What it does, for people, and what does the same in a terminal. */
  readonly title: string;
  readonly command: string;
}

export const actionButtons: readonly ActionButton[] = [
  {
    name: "warm",
    label: "Fetch",
    title: "fetches all of it onto this node's disk, with signatures and referrers",
    command: "entrepot warm",
  },
];

/** Where what has come of a button is told. */
export const outcomeId = "outcome";

/**
 * Buttons for the image of the reference, as it was asked for. They need a script: a change is asked for in JSON, which no form
 * can send, so that no page of another site can make a browser do it (ops/cross-site.ts). Without one the commands stand there.
 */
export function actionsView(reference: string): PageNode {
  return h(
    "div",
    { class: "actions", role: "group", "aria-label": "Change what is here" },
    actionButtons.map(({ name, label, title }) =>
      h("button", { type: "button", "data-action": name, "data-reference": reference, title }, label),
    ),
    h(
      "div",
      { class: "unscripted" },
      actionButtons.map(({ command, title }) =>
        h("p", { class: "note" }, h("code", {}, `${command} ${reference}`), ` ${title}`),
      ),
    ),
  );
}

/** `level`: `idle` while it goes on. */
export function outcomeView(
  level: Parameters<typeof state>[0],
  word: string,
  ...more: readonly Content[]
): PageNode {
  return h("div", {}, h("p", {}, state(level, word), more));
}
