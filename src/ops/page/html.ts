// A page as plain objects. The server writes them out as HTML, the browser changes the document it shows to match them: one
// description of the page serves both. Everything is escaped; there is no way to write markup out of a string.

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface PageNode {
  readonly tag: string;
  readonly attributes: Attributes;
  readonly children: readonly (PageNode | string)[];
}

/** What may stand between the tags; nothing is written for undefined and false. */
export type Content = PageNode | string | number | undefined | false | readonly Content[];

/** With the attribute `data-keep` the node is, once shown, left to the browser's own scripts. */
export function h(tag: string, attributes: Attributes = {}, ...content: readonly Content[]): PageNode {
  const children: (PageNode | string)[] = [];
  collect(content, children);
  return { tag, attributes, children };
}

function collect(content: Content, into: (PageNode | string)[]): void {
  if (content === undefined || content === false) return;
  if (typeof content === "string" || typeof content === "number") {
    const last = into.length - 1;
    // Two texts in a row would be one text in a document that was read from HTML.
    if (typeof into[last] === "string") into[last] = `${into[last]}${content}`;
    else into.push(String(content));
  } else if ("tag" in content) into.push(content);
  else for (const part of content) collect(part, into);
}

const emptyTags: ReadonlySet<string> = new Set(["meta", "link", "input", "br"]);
const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] as string);
}

export function toHtml(node: PageNode | string): string {
  if (typeof node === "string") return escapeHtml(node);
  const { tag, children } = node;
  let attributes = "";
  for (const [name, value] of Object.entries(node.attributes)) {
    if (value === undefined || value === false) continue;
    attributes += value === true ? ` ${name}` : ` ${name}="${escapeHtml(String(value))}"`;
  }
  if (emptyTags.has(tag)) return `<${tag}${attributes}>`;
  return `<${tag}${attributes}>${children.map(toHtml).join("")}</${tag}>`;
}
