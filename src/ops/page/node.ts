// A page as plain objects. The server writes them out as HTML, the browser makes them true of the document it shows:
// one description of the page serves both, and neither ever reads text as markup.

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface PageNode {
  readonly tag: string;
  readonly attributes: Attributes;
  readonly children: readonly (PageNode | string)[];
}

/** What may stand between the tags; nothing is written for undefined and false. */
export type Content = PageNode | string | number | undefined | false | readonly Content[];

/** With the attribute `data-keep` the node is, once shown, the business of the browser's own scripts. */
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
