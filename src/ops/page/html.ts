// Page nodes as HTML. Everything is escaped; there is no way to write markup out of a string.
import type { PageNode } from "./node.ts";

const empty: ReadonlySet<string> = new Set(["meta", "link", "input", "br"]);
const references: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => references[character] as string);
}

export function toHtml(node: PageNode | string): string {
  if (typeof node === "string") return escapeHtml(node);
  const { tag, children } = node;
  let attributes = "";
  for (const [name, value] of Object.entries(node.attributes)) {
    if (value === undefined || value === false) continue;
    attributes += value === true ? ` ${name}` : ` ${name}="${escapeHtml(String(value))}"`;
  }
  if (empty.has(tag)) return `<${tag}${attributes}>`;
  return `<${tag}${attributes}>${children.map(toHtml).join("")}</${tag}>`;
}
