// What can be done with an image from the page, and what has come of it.
import type { PinReport, UnpinnedReport } from "../pins/pin-report.ts";
import { count, size } from "./format.ts";
import { type Content, h, type PageNode } from "./html.ts";
import { state } from "./parts.ts";

export interface ActionButton {
  readonly name: "warm" | "pin" | "unpin";
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
  {
    name: "pin",
    label: "Pin",
    title: "keeps it at all nodes: it is fetched, refreshed and never evicted",
    command: "entrepot pin",
  },
  {
    name: "unpin",
    label: "Unpin",
    title: "ends that: it may be evicted again",
    command: "entrepot unpin",
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

export function pinnedView(
  reference: string,
  { image, state, parts, sizeBytes, hereBytes, reason }: PinReport,
): PageNode {
  const levels = {
    whole: "ok",
    incomplete: "idle",
    over_budget: "bad",
    too_large: "bad",
    unknown: "idle",
  } as const;
  const words = {
    whole: "all of it is here",
    incomplete: `${size(hereBytes)} of ${size(sizeBytes)} is here, the rest is to be fetched`,
    over_budget: "it does not fit beside what is pinned already, and is not held",
    too_large: "it has more parts than a pinned image may have, and is not held",
    unknown: "what it is made of is not known yet",
  };
  const sum = parts === 0 ? "" : ` (${count(parts, "part")}, ${size(sizeBytes)})`;
  const why = reason === null ? "" : `: ${reason}`;
  return outcomeView(levels[state], "pinned", `: ${reference}, as ${image}${sum}: ${words[state]}${why}`);
}

export function unpinnedView(reference: string, { image, stillConfigured }: UnpinnedReport): PageNode {
  return stillConfigured
    ? outcomeView("warn", "still pinned", `: ${reference}, as ${image}: by the configuration (pin.images)`)
    : outcomeView("ok", "not pinned any more", `: ${reference}, as ${image}`);
}
