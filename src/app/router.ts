// How the configuration routes requests: for clients, and for what is fetched ahead of them.
import type { Config } from "../config/config.ts";
import { Router, type Routing } from "../http/routing.ts";
import type { Upstream } from "../ports/upstream.ts";

/** `upstreams` are those of the configuration, in the same order. */
export function createRouter(config: Pick<Config, "upstreams">, upstreams: readonly Upstream[]): Router {
  const routings = config.upstreams.map(
    ({ component, namespaces, hosts, library, allow, deny, next, access }, i): Routing => {
      const upstream = upstreams[i] as Upstream;
      const passthrough = access === "passthrough";
      return { upstream, component, namespaces, hosts, library, allow, deny, next, passthrough };
    },
  );
  return new Router(routings as [Routing, ...Routing[]]);
}
