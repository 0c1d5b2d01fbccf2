// What all pages of this listener are: a document, with addresses below wherever a proxy serves it.
import { type Content, h, toHtml } from "./html.ts";

/** The address of a path of this listener; relative to the page while `basePath` is not known (""), see pageHtml. */
export function below(basePath: string): (path: string) => string {
  return (path) => (basePath === "" ? path.slice(1) : `${basePath}${path}`);
}

export function documentHtml(head: readonly Content[], body: readonly Content[]): string {
  const every = [
    h("meta", { charset: "utf-8" }),
    h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    h("meta", { name: "color-scheme", content: "light dark" }),
  ];
  const html = h("html", { lang: "en" }, h("head", {}, every, head), h("body", {}, body));
  return `<!doctype html>\n${toHtml(html)}\n`;
}
