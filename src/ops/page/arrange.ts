// The page as one viewer wants it: tables sorted by a column, lists narrowed to what has a text in it. Runs in the browser, on
// descriptions of the page, before they are shown.
import { h, type PageNode } from "./html.ts";

export interface Order {
  /** Which column, from 0 on. */
  readonly column: number;
  readonly down: boolean;
}

export interface Arrangement {
  /** "" shows everything. */
  readonly filter: string;
  /** By the label of the table. */
  readonly orders: ReadonlyMap<string, Order>;
}

/** Sections whose rows can be told apart by the names in them. */
const filtered: ReadonlySet<string> = new Set(["fills", "slow", "errors", "repositories"]);

/** The same page, with buttons in the heads of its tables. */
export function arrange(page: PageNode, arrangement: Arrangement): PageNode {
  return inside(page, arrangement, "");
}

function inside(node: PageNode, arrangement: Arrangement, filter: string): PageNode {
  const { tag, attributes, children } = node;
  const wanted = tag === "section" && filtered.has(String(attributes.id)) ? arrangement.filter : filter;
  if (tag === "div" && attributes.class === "scroll") return tableOf(node, arrangement, wanted);
  const kept = tag === "ul" ? children.filter((child) => has(child, wanted)) : children;
  return {
    tag,
    attributes,
    children: kept.map((child) => (typeof child === "string" ? child : inside(child, arrangement, wanted))),
  };
}

function tableOf(node: PageNode, { orders }: Arrangement, filter: string): PageNode {
  const label = String(node.attributes["aria-label"]);
  const order = orders.get(label);
  return mapped(node, (part) => {
    if (part.tag === "thead") return mapped(part, (row) => headOf(row, label, order));
    if (part.tag !== "tbody") return undefined;
    const rows = part.children.filter((row) => has(row, filter));
    return { ...part, children: order === undefined ? rows : sorted(rows, order) };
  });
}

function headOf(row: PageNode, label: string, order: Order | undefined): PageNode {
  const children = row.children.map((cell, column) => {
    if (typeof cell === "string") return cell;
    const { tag, attributes } = cell;
    const by = order?.column === column ? (order.down ? "descending" : "ascending") : undefined;
    const button = { type: "button", class: "sort", "data-table": label, "data-column": column };
    return h(tag, { ...attributes, "aria-sort": by }, h("button", button, text(cell)));
  });
  return { ...row, children };
}

/** Those of the table's own parts that `change` has another for. */
function mapped(node: PageNode, change: (part: PageNode) => PageNode | undefined): PageNode {
  const children = node.children.map((child) =>
    typeof child === "string" ? child : (change(child) ?? mapped(child, change)),
  );
  return { ...node, children };
}

function has(node: PageNode | string, filter: string): boolean {
  return filter === "" || text(node).toLowerCase().includes(filter.toLowerCase());
}

function text(node: PageNode | string): string {
  return typeof node === "string" ? node : node.children.map(text).join("");
}

/** Numbers by size, everything else by the alphabet; what has none goes last either way. */
function sorted(rows: readonly (PageNode | string)[], { column, down }: Order): (PageNode | string)[] {
  const keyed = rows.map((row) => ({ row, key: keyOf(row, column) }));
  const sign = down ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
    if (typeof a.key === "number" && typeof b.key === "number") return sign * (a.key - b.key);
    return sign * (String(a.key) < String(b.key) ? -1 : String(a.key) > String(b.key) ? 1 : 0);
  });
  return keyed.map(({ row }) => row);
}

function keyOf(row: PageNode | string, column: number): number | string | null {
  const cell = typeof row === "string" ? undefined : row.children[column];
  if (cell === undefined || typeof cell === "string") return null;
  const by = cell.attributes["data-by"];
  if (by === "") return null;
  if (by !== undefined) return Number(by);
  const shown = text(cell).trim();
  if (shown === "" || shown === "–") return null;
  const number = /^-?[\d,]+(?:\.\d+)?/.exec(shown)?.[0].replaceAll(",", "");
  return cell.attributes.class === "number" && number !== undefined ? Number(number) : shown;
}
