// How clients reach the mirror, by its configuration.
import type { Config } from "../config/config.ts";

/**
 * How clients reach the mirror: as configured, else by the node's name and the port it listens on, 0 when it has none. A name
 * that no URL can have, such as `mirror.1` (WHATWG URL, "ends in a number"), is the machine's own.
 */
export function mirrorUrl(
  { opsPage, node, listenTls }: Pick<Config, "opsPage" | "node" | "listenTls">,
  port: number,
): string {
  if (opsPage?.mirror !== undefined) return opsPage.mirror;
  const at = (name: string) =>
    URL.parse(`${listenTls === undefined ? "http" : "https"}://${name}${port > 0 ? `:${port}` : ""}`);
  return (at(node.name) ?? at("localhost"))?.href ?? "";
}
