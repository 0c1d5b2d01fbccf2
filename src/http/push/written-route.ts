// A write in the names of the upstream it goes to. Reads need only the repository for that; a push also names the one
// a blob is to be mounted from, which goes the same way through the routing and must come out at the same upstream.
import type { Repository } from "../../oci/name.ts";
import type { Route } from "../../oci/route.ts";
import type { Router, Target } from "../routing.ts";

/**
 * `repository` is what `target` calls that of the route. A mount from another upstream, from where clients may read
 * nothing, or from wherever upstream finds the blob, is left out: a digest alone grants nothing (docs/design.md,
 * rule 3). Upstream then begins a plain upload, and the client sends the blob. `host` is the Host header.
 */
export function writtenRoute(
  route: Route,
  { upstream }: Target,
  repository: Repository,
  router: Router,
  host: string | undefined,
): Route {
  if (!("repository" in route)) return route;
  if (route.kind !== "upload") return { ...route, repository };
  const { from: asked } = route.upload;
  const routed = asked === undefined ? undefined : router.route({ ...route, repository: asked }, host);
  const [source] = routed?.kind === "routed" ? routed.targets : [];
  const readable = source?.upstream.name === upstream.name && source.allowed;
  const from = readable ? source.repository : undefined;
  const mount = from === undefined ? undefined : route.upload.mount;
  return { ...route, repository, upload: { ...route.upload, mount, from } };
}
