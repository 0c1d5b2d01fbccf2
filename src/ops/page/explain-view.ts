// What is known here of one image.
import type { ExplainedPart, Explanation } from "../stats/stats-document.ts";
import { actionsView, outcomeId } from "./actions-view.ts";
import { duration, shortDigest, size } from "./format.ts";
import { type Content, h, type PageNode } from "./html.ts";
import { ago, copyable, sectionWith, state, table } from "./parts.ts";

/** Stands for it where what was asked is not known: the browser leaves the one it shows. */
export const explainPlace: PageNode = h("section", { id: "explain" });

/** The box and, below it, the answer. A plain form, which asks the page itself, so that it works without a script. */
export function explainView(reference: string, explanation: Explanation | undefined): PageNode {
  return sectionWith(
    { "data-keep": "" },
    "explain",
    "Explain this image",
    h(
      "form",
      { method: "get", role: "search", id: "explain-form" },
      h("label", { for: "explain-reference" }, "Reference"),
      h("input", {
        id: "explain-reference",
        name: "explain",
        type: "text",
        value: reference,
        placeholder: "team/app:1.0",
        autocomplete: "off",
        autocapitalize: "none",
        spellcheck: "false",
        maxlength: 500,
        required: true,
      }),
      h("button", { type: "submit" }, "Explain"),
    ),
    h("div", { id: outcomeId, role: "status" }),
    h(
      "div",
      { id: "explanation", "aria-live": "polite" },
      explanation && explanationView(explanation, reference),
    ),
  );
}

/** `asked`: the reference as it was typed. */
export function explanationView(explanation: Explanation, asked: string): PageNode {
  if (explanation.kind === "unreadable") return h("div", {}, h("p", {}, state("bad", explanation.reason)));
  const { at, upstream, repository, reference, summary, parts, truncated, withoutUpstream } = explanation;
  const columns = ["What", "State", "Size", "Where", "Stored", "Last used", "Type", "Repositories"];
  const rows = parts.map((part) => partRow(part, at));
  return h(
    "div",
    {},
    h(
      "p",
      {},
      h("b", {}, `${repository}${reference.includes(":") ? "@" : ":"}${reference}`),
      ` from ${upstream}: ${summary}`,
    ),
    explanation.dockerPull !== null && copyable(`docker pull ${explanation.dockerPull}`),
    actionsView(namedReference(asked.trim(), reference)),
    tagView(explanation),
    h(
      "p",
      { class: "note" },
      `Without upstream it would ${withoutUpstream.served ? "" : "not "}be served: ${withoutUpstream.why}.`,
    ),
    staysView(explanation),
    table(
      "Parts of the image",
      columns.map((name) => (name === "Size" ? { name, number: true as const } : { name })),
      rows,
      "Nothing of it is known here.",
    ),
    truncated && h("p", { class: "note" }, "There is more than is shown."),
  );
}

/**
 * `asked` with the tag or digest that was explained. Without one a purge takes it for the whole repository, where all else takes
 * it for `latest` of it.
 */
function namedReference(asked: string, reference: string): string {
  return asked.endsWith(`:${reference}`) || asked.endsWith(`@${reference}`) ? asked : `${asked}:${reference}`;
}

function tagView({ tag, at }: Explanation & { kind: "explained" }): Content {
  if (tag === null) return undefined;
  const then = {
    fresh: "it is answered from here",
    stale: "upstream is asked before it is answered",
    expired: "it is not answered without upstream",
  };
  const ttl = tag.ttlMs === null ? "never checked again" : `good for ${duration(tag.ttlMs)}`;
  return h(
    "p",
    { class: "note" },
    "The tag was checked ",
    ago(tag.checkedAt, at),
    `, is ${ttl}: ${then[tag.state]}.`,
  );
}

/** The last one first; nothing of a tag that has named one digest only. */
function staysView({ stays, at }: Explanation & { kind: "explained" }): Content {
  if (stays.length < 2) return undefined;
  const rows = [...stays]
    .reverse()
    .map((stay) => [
      h("code", { title: stay.digest }, shortDigest(stay.digest)),
      ago(stay.firstSeenAt, at),
      stay.endedAt === null ? "–" : [ago(stay.endedAt, at), ` ${stay.ended}`],
      stay.by ?? "–",
      stay.nodes.join(", "),
    ]);
  const columns = ["Digest", "Since", "Until", "Asked by", "Seen by"].map((name) => ({ name }));
  return table("What the tag has named", columns, rows, "Nothing.");
}

const levels = { here: "ok", coming: "warn", missing: "bad" } as const;

function partRow(part: ExplainedPart, now: number): Content[] {
  return [
    [
      part.depth > 0 && h("span", { "aria-hidden": "true" }, "└ ".padStart(part.depth * 2 + 2, "\u00a0")),
      `${part.kind} `,
      h("code", { title: part.digest }, shortDigest(part.digest)),
    ],
    state(levels[part.state], part.state),
    part.sizeBytes === null ? "–" : size(part.sizeBytes),
    part.where.join(", "),
    ago(part.storedAt, now),
    ago(part.usedAt, now),
    part.mediaType ?? "",
    part.linked ? part.repositories.join(", ") : ["not linked", ...part.repositories].join(", "),
  ];
}
