// Makes what is shown equal to a description of it, and leaves alone what already is: focus, selection and the place
// things are scrolled to survive. Text only ever becomes text.
import type { PageNode } from "../html.ts";

/** `shown` was made from an earlier description of the same page. */
export function patch(shown: Element, wanted: PageNode): void {
  if (shown.hasAttribute("data-keep")) return;
  patchAttributes(shown, wanted);
  for (const [at, child] of wanted.children.entries()) {
    const there = shown.childNodes[at];
    if (there === undefined) shown.append(make(child));
    else if (typeof child === "string") patchText(there, child);
    else if (there instanceof Element && isFor(there, child)) patch(there, child);
    else there.replaceWith(make(child));
  }
  while (shown.childNodes.length > wanted.children.length) shown.lastChild?.remove();
}

export function make(wanted: PageNode | string): Node {
  if (typeof wanted === "string") return document.createTextNode(wanted);
  const element = document.createElement(wanted.tag);
  patchAttributes(element, wanted);
  element.append(...wanted.children.map(make));
  return element;
}

function patchText(there: ChildNode, text: string): void {
  if (!(there instanceof Text)) there.replaceWith(text);
  else if (there.data !== text) there.data = text;
}

function isFor(there: Element, { tag, attributes }: PageNode): boolean {
  return there.localName === tag && there.id === String(attributes.id ?? "");
}

function patchAttributes(element: Element, { attributes }: PageNode): void {
  for (const { name } of [...element.attributes]) {
    const value = attributes[name];
    if (value === undefined || value === false) element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}
