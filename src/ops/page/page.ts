// The whole page as the server sends it. It is complete without a script, which then only keeps it up to date.
import type { Explanation, StatsDocument } from "../stats/stats-document.ts";
import { below, documentHtml } from "./document.ts";
import { explainView } from "./explain-view.ts";
import { type Content, h } from "./html.ts";
import { icon } from "./icon.ts";
import { liveView } from "./live-view.ts";

/** What the browser may load and do: nothing but ours, and no script or style that stands in the page itself. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Paths on this listener. */
export interface PageAssets {
  readonly styles: readonly string[];
  /** Classic scripts, then the module that starts everything, then the modules it imports. */
  readonly scripts: readonly string[];
  readonly module: string;
  readonly imported: readonly string[];
}

/** Seconds between two loads of the page without a script. */
const refresh = 10;

/** Nothing when none is configured. */
function linksView({ links: { runbook, grafana, haproxy } }: StatsDocument): Content {
  const places = [
    ["Runbook", runbook],
    ["Grafana", grafana],
    ["HAProxy", haproxy],
  ] as const;
  const links = places.flatMap(([name, href]) => (href === null ? [] : [h("a", { href }, name)]));
  return links.length > 0 && h("nav", { "aria-label": "Elsewhere" }, links);
}

/**
 * `reference`: what the box was asked to explain, as it was typed. `basePath`: what stands before the paths of this listener
 * for the browser. While that is not known ("") every address is relative to the page, so that it works below any path.
 */
export function pageHtml(
  document: StatsDocument,
  assets: PageAssets,
  {
    reference,
    explanation,
    basePath,
  }: { readonly reference: string; readonly explanation: Explanation | undefined; readonly basePath: string },
): string {
  const at = below(basePath);
  const head = [
    h("title", {}, `${document.node.name} – entrepot`),
    h("link", { rel: "icon", id: "icon", href: icon(document.verdict.level) }),
    assets.styles.map((path) => h("link", { rel: "stylesheet", href: at(path) })),
    assets.scripts.map((path) => h("script", { src: at(path), defer: true })),
    h("script", { src: at(assets.module), type: "module" }),
    assets.imported.map((path) => h("link", { rel: "modulepreload", href: at(path) })),
    h("noscript", {}, h("meta", { "http-equiv": "refresh", content: refresh })),
  ];
  const body = [
    h(
      "header",
      {},
      h("h1", {}, "entrepot ", h("small", {}, document.node.name)),
      h("p", { id: "connection", role: "status" }),
      linksView(document),
    ),
    h("main", {}, liveView(document, explainView(reference, explanation))),
    h(
      "footer",
      {},
      h("a", { href: at("/jobs") }, "jobs"),
      h("a", { href: at("/api/v1/openapi.json") }, "API"),
      h("a", { href: at("/api/v1/stats") }, "stats"),
      h("a", { href: at("/metrics") }, "metrics"),
      h("a", { href: at("/readyz") }, "readyz"),
    ),
  ];
  return documentHtml(head, body);
}
