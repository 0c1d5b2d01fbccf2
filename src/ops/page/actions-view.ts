// What can be done with an image from the page, and what has come of it.
import type { PinReport, UnpinnedReport } from "../pins/pin-report.ts";
import type { PurgeReport, RefreshReport } from "../purge/purge-report.ts";
import { count, size } from "./format.ts";
import { type Content, h, type PageNode } from "./html.ts";
import { state } from "./parts.ts";

export interface ActionButton {
  readonly name: "warm" | "refresh" | "pin" | "unpin" | "purge";
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
    name: "refresh",
    label: "Refresh",
    title: "asks upstream for the tag now, at all nodes; of a digest it hashes what is stored",
    command: "entrepot refresh",
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
  {
    name: "purge",
    label: "Purge…",
    title: "deletes it from all nodes and S3, once you have seen what goes",
    command: "entrepot purge",
  },
];

/** Where what has come of a button is told. */
export const outcomeId = "outcome";

/**
 * Buttons for the image of the reference, which names a tag or a digest. They need a script: a change is asked for in JSON, which no form
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
  const word = levels[state] === "bad" ? "not pinned" : "pinned";
  return outcomeView(levels[state], word, `: ${reference}, as ${image}${sum}: ${words[state]}${why}`);
}

export function unpinnedView(reference: string, { image, stillConfigured }: UnpinnedReport): PageNode {
  return stillConfigured
    ? outcomeView("warn", "still pinned", `: ${reference}, as ${image}: by the configuration (pin.images)`)
    : outcomeView("ok", "not pinned any more", `: ${reference}, as ${image}`);
}

/** What a purge would delete, with the question whether to. `confirmed` is the value of the button that says yes. */
export function purgeView(reference: string, report: PurgeReport): PageNode {
  const { kind, upstream, tags, goes, sums, pinnedBy, nodes, s3, truncated } = report;
  const kinds = { tag: "the tag", image: "the image", repository: "the whole repository" };
  const scope = upstream === null ? " in all repositories" : "";
  const shown = [
    ...tags.map(({ upstream, repository, tag }) => `${upstream}/${repository}:${tag}`),
    ...goes.map(
      ({ role, digest, sizeBytes }) => `${role} ${digest}${sizeBytes === null ? "" : `, ${size(sizeBytes)}`}`,
    ),
  ];
  const others = nodes.filter(({ self }) => !self).map(({ name }) => name);
  const everywhere = [...others.map((name) => `node ${name}`), ...(s3 ? ["S3"] : [])].join(", ");
  return h(
    "dialog",
    { "aria-labelledby": "purge-title" },
    h("h2", { id: "purge-title" }, `Purge ${kinds[kind]} ${reference}${scope}?`),
    h(
      "p",
      {},
      `${count(sums.tags, "tag")}, ${count(sums.images, "manifest")} and ${count(sums.layers, "blob")} go: ${size(sums.bytes)} on this node's disk`,
      everywhere !== "" && `, and the same at ${everywhere}`,
      sums.staysParts > 0 &&
        `; ${count(sums.staysParts, "part")} that others use (${size(sums.staysBytes)}) ${sums.staysParts === 1 ? "stays" : "stay"}`,
      ".",
    ),
    h(
      "ul",
      { class: "scroll", tabindex: 0, "aria-label": "What goes" },
      shown.map((each) => h("li", { class: "long" }, each)),
    ),
    truncated && h("p", { class: "note" }, "There is more than is looked at: another purge takes the rest."),
    pinnedBy.length > 0 &&
      h(
        "p",
        {},
        state("warn", "pinned"),
        ` images need some of it (${pinnedBy.join(", ")}): entrepot purge --force, or unpin them first.`,
      ),
    h(
      "form",
      { method: "dialog" },
      h("button", { value: "", autofocus: true }, "Keep"),
      pinnedBy.length === 0 && h("button", { value: confirmed, class: "danger" }, "Purge"),
    ),
  );
}

export const confirmed = "yes";

/** What each node says. */
export function purgedView(reference: string, { nodes }: PurgeReport): PageNode {
  const done = nodes.filter((node) => node.state === "done");
  const bytes = nodes.reduce((sum, node) => sum + (node.bytes ?? 0), 0);
  const parts = nodes.reduce((sum, node) => sum + (node.parts ?? 0), 0);
  const all = done.length === nodes.length;
  const others = nodes
    .filter((node) => node.state !== "done")
    .map((node) => `; ${node.name}: ${purgeStates[node.state]}`);
  return outcomeView(
    all ? "ok" : "warn",
    all ? "purged" : "not purged everywhere yet",
    `: ${reference}: ${count(parts, "part")}, ${size(bytes)}${others.join("")}`,
  );
}

const purgeStates: Readonly<Record<PurgeReport["nodes"][number]["state"], string>> = {
  planned: "planned",
  done: "done",
  partly: "something could not be reached, and is tried again",
  away: "does not answer, and does the same when it is back",
  told: "was told, and has not said what came of it",
};

/** What each node says. */
export function refreshedView(reference: string, { nodes }: RefreshReport): PageNode {
  const bad = nodes.filter(({ state }) => state === "failed" || state === "gone" || state === "away");
  const goesOn = nodes.some(({ state }) => state === "running");
  const said = nodes.map(({ name, state, wrong, problem }) => {
    const found = wrong > 0 ? `, ${count(wrong, "part")} missing or wrong` : "";
    return `${name}: ${refreshStates[state]}${found}${problem === null ? "" : `: ${problem}`}`;
  });
  return outcomeView(
    bad.length === 0 ? (goesOn ? "idle" : "ok") : bad.length === nodes.length ? "bad" : "warn",
    bad.length === 0
      ? goesOn
        ? "not done yet"
        : "refreshed"
      : bad.length === nodes.length
        ? "not refreshed"
        : "not refreshed everywhere",
    `: ${reference}: ${said.join("; ")}`,
  );
}

const refreshStates: Readonly<Record<RefreshReport["nodes"][number]["state"], string>> = {
  unchanged: "unchanged",
  moved: "the tag had moved",
  new: "the tag was not known",
  gone: "upstream does not have it or refuses it",
  sound: "what is stored is sound",
  fetched: "fetched again",
  running: "it goes on",
  failed: "failed",
  away: "does not answer",
};
