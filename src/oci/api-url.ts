// Where a registry is asked: the addresses of its API (distribution-spec, "Endpoints"), put together from parsed parts.
import type { Repository } from "./name.ts";

/** What the path of every endpoint begins with: `/v2/`, below the path of the registry's URL. */
export function apiPath(registry: URL): string {
  return `${registry.pathname.replace(/\/+$/, "")}/v2/`;
}

/**
 * `<registry>/v2/<repository>/<endpoint>`. Throws when the URL parser reads anything else out of it than what was put in
 * (docs/design.md, rule 5).
 */
export function apiUrl(
  registry: URL,
  repository: Repository,
  endpoint: string,
  query = new URLSearchParams(),
): URL {
  const path = `${apiPath(registry)}${repository}/${endpoint}`;
  const url = new URL(registry);
  url.pathname = path;
  url.search = query.toString();
  if (url.origin !== registry.origin || url.pathname !== path)
    throw new Error("a repository or reference would have changed where a request goes");
  return url;
}
