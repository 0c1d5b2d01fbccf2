// The icon of the browser's tab: a dot in the colour of the verdict, so that the tab shows the state of the node.
import type { Level } from "../stats/stats-document.ts";

const colours: Readonly<Record<Level, string>> = { ok: "#16813d", degraded: "#c77700", down: "#c8281e" };

/** An address with the picture in it. */
export function icon(level: Level): string {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colours[level]}"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
