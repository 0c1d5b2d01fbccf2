// What several sections of the page are made of.
import { duration } from "./format.ts";
import { type Attributes, type Content, h, type PageNode } from "./html.ts";

export function section(id: string, title: string, ...content: readonly Content[]): PageNode {
  return sectionWith({}, id, title, ...content);
}

export function sectionWith(
  attributes: Attributes,
  id: string,
  title: string,
  ...content: readonly Content[]
): PageNode {
  return h(
    "section",
    { id, "aria-labelledby": `${id}-title`, ...attributes },
    h("h2", { id: `${id}-title` }, title),
    content,
  );
}

/** Text to be used elsewhere, with a button that copies it where there are scripts. */
export function copyable(text: string): PageNode {
  return h(
    "div",
    { class: "copyable" },
    h("pre", {}, h("code", {}, text)),
    h("button", { type: "button", class: "copy" }, "Copy"),
  );
}

/** A big number and what it is. */
export function fact(name: string, value: string, note?: string): PageNode {
  return h(
    "div",
    { class: "fact" },
    h("dt", {}, name),
    h("dd", {}, value, note !== undefined && h("small", {}, note)),
  );
}

export function facts(...content: readonly Content[]): PageNode {
  return h("dl", { class: "facts" }, content);
}

/** `by`: the number it is sorted by, where its text does not begin with it; null goes last. */
export type Cell = Content | { readonly shown: Content; readonly by: number | null };

export interface Column {
  readonly name: string;
  /** Right-aligned, in figures of one width. */
  readonly number?: true;
  /** Text of any length, which is broken where it has to be. */
  readonly long?: true;
}

/**
 * A table that scrolls by itself where it is too wide, also by keyboard; only `none` when there are no rows. `label` is the
 * page's only one.
 */
export function table(
  label: string,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  none: string,
): PageNode {
  if (rows.length === 0) return h("p", { class: "none" }, none);
  const kind = (at: number) => (columns[at]?.number ? "number" : columns[at]?.long ? "long" : undefined);
  return h(
    "div",
    { class: "scroll", role: "region", "aria-label": `${label}, table`, tabindex: 0 },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(({ name }, at) => h("th", { scope: "col", class: kind(at) }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            row.map((cell, at) => cellView(cell, kind(at))),
          ),
        ),
      ),
    ),
  );
}

function cellView(cell: Cell, kind: string | undefined): PageNode {
  if (typeof cell !== "object" || !("shown" in cell)) return h("td", { class: kind }, cell);
  return h("td", { class: kind, "data-by": cell.by ?? "" }, cell.shown);
}

/** How long before `now` something was, with the exact time behind it. */
export function ago(at: number | null, now: number): Content {
  if (at === null) return "–";
  return h(
    "time",
    { datetime: new Date(at).toISOString(), title: new Date(at).toISOString() },
    `${duration(now - at)} ago`,
  );
}

/** State as a symbol and a word, so that it does not depend on seeing colours. */
export function state(level: "ok" | "idle" | "warn" | "bad", word: string): PageNode {
  const symbols = { ok: "●", idle: "○", warn: "▲", bad: "✖" };
  return h(
    "span",
    { class: `state ${level}` },
    h("span", { "aria-hidden": "true" }, symbols[level]),
    ` ${word}`,
  );
}

/** A share from 0 to 1 as a bar, in the colour of an origin when one is given; without an end when it is not known. */
export function bar(label: string, value: number | null, colour?: string): PageNode {
  if (value === null) return h("progress", { "aria-label": label });
  return h("progress", {
    class: colour,
    "aria-label": label,
    max: 1,
    value: Math.min(1, value).toFixed(4),
  });
}
