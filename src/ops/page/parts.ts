// What several sections of the page are made of.
import { duration } from "./format.ts";
import { type Content, h, type PageNode } from "./html.ts";

export function section(id: string, title: string, ...content: readonly Content[]): PageNode {
  return h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title),
    content,
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

export type Cell = Content;

export interface Column {
  readonly name: string;
  /** Right-aligned, in figures of one width. */
  readonly number?: true;
}

/** A table that scrolls by itself where it is too wide, also by keyboard; `none` when there are no rows. */
export function table(
  label: string,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  none: string,
): PageNode {
  if (rows.length === 0) return h("p", { class: "none" }, none);
  const kind = (at: number) => (columns[at]?.number ? "number" : undefined);
  return h(
    "div",
    { class: "scroll", role: "region", "aria-label": label, tabindex: 0 },
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
            row.map((cell, at) => h("td", { class: kind(at) }, cell)),
          ),
        ),
      ),
    ),
  );
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
