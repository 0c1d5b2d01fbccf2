// Which upstream a request is for: path prefix before `/v2`, first component after it, `?ns=`, virtual host, default,
// in this order (docs/clients.md 3). Two ways that agree count once; two that differ are refused, never guessed.
import picomatch from "picomatch";
import { parseRepository, type Repository } from "../oci/name.ts";
import type { Route } from "../oci/route.ts";
import type { Upstream } from "../ports/upstream.ts";

/** How one upstream is named by clients, and what may be asked of it. */
export interface Routing {
  readonly upstream: Upstream;
  /** First path component after `/v2/` that stands for this upstream; undefined: none. */
  readonly component?: string | undefined;
  /** Values of `?ns=`: the host of the references clients pull, `docker.io` or `registry.example.com:8443`. */
  readonly namespaces: readonly string[];
  /** Host names of this mirror that stand for this upstream, without port, lower case. */
  readonly hosts: readonly string[];
  /** Whether `app` means `library/app`, as on Docker Hub. */
  readonly library: boolean;
  /** Globs over `repository` and `repository:tag`; an empty allow list allows all. Deny wins. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** The upstream to ask when this one does not have it, or fails. */
  readonly next?: { readonly upstream: string; readonly on: readonly ("absent" | "failure")[] } | undefined;
}

/** One upstream to ask, with the repository as that upstream knows it. */
export interface Target {
  readonly upstream: Upstream;
  readonly repository: Repository | undefined;
  /** Whether the configuration lets clients have it. */
  readonly allowed: boolean;
  /** Which tags of the repository the configuration lets clients have; undefined when it tells none apart. */
  readonly tagRule?: TagRule | undefined;
  /** When the target after this one is asked. */
  readonly onAbsent: boolean;
  readonly onFailure: boolean;
}

export type Routed =
  | {
      readonly kind: "routed";
      /** In the order they are asked; at least one. */
      readonly targets: readonly [Target, ...Target[]];
      /** The `ns` that took part in the choice, for the OCI-Namespace header. */
      readonly namespace: string | undefined;
    }
  /** No upstream of that name; or two names that contradict each other. */
  | { readonly kind: "unknown" };

/** Whether clients may have the tag. */
export type TagRule = (tag: string) => boolean;

interface Entry extends Permission {
  readonly routing: Routing;
}

const unknown: Routed = { kind: "unknown" };

export class Router {
  readonly #entries: readonly Entry[];
  readonly #byName: ReadonlyMap<string, Entry>;
  readonly #byComponent: ReadonlyMap<string, Entry>;
  readonly #byNamespace: ReadonlyMap<string, Entry>;
  readonly #byHost: ReadonlyMap<string, Entry>;

  /** The first upstream is the default. Names, components, namespaces and hosts are distinct (config/ checks it). */
  constructor(routings: readonly [Routing, ...Routing[]]) {
    this.#entries = routings.map((routing) => ({ routing, ...permission(routing.allow, routing.deny) }));
    this.#byName = this.#indexBy(({ upstream }) => [upstream.name]);
    this.#byComponent = this.#indexBy(({ component }) => (component === undefined ? [] : [component]));
    this.#byNamespace = this.#indexBy(({ namespaces }) => namespaces);
    this.#byHost = this.#indexBy(({ hosts }) => hosts);
  }

  /** `host` is the Host header of the request. */
  route(route: Route, host: string | undefined): Routed {
    const named = this.#named(route);
    if (named === "unknown") return unknown;
    const { ns } = route;
    const byNamespace = ns === undefined ? undefined : this.#byNamespace.get(ns.toLowerCase());
    if (named?.entry !== undefined && byNamespace !== undefined && named.entry !== byNamespace)
      return unknown;
    // Without a single configured namespace there is nothing to tell apart; with one, this is no open proxy.
    if (named === undefined && ns !== undefined && byNamespace === undefined && this.#byNamespace.size > 0)
      return unknown;
    const entry = named?.entry ?? byNamespace ?? this.#hosted(host) ?? (this.#entries[0] as Entry);
    const repository =
      named === undefined ? ("repository" in route ? route.repository : undefined) : named.repository;
    return {
      kind: "routed",
      targets: this.#targets(entry, repository, tagOf(route)),
      namespace: byNamespace === undefined ? undefined : ns,
    };
  }

  /** Whether clients may have anything of the repository. */
  permits(upstream: Upstream, repository: Repository): boolean {
    return this.#byName.get(upstream.name)?.permits(repository, undefined) ?? false;
  }

  /** By the path: prefix, or first component. Undefined when neither names an upstream. */
  #named(route: Route): { entry: Entry; repository: Repository | undefined } | undefined | "unknown" {
    const repository = "repository" in route ? route.repository : undefined;
    const byPrefix = this.#byName.get(route.prefix);
    if (route.prefix !== "" && byPrefix === undefined) return "unknown";
    const slash = repository?.indexOf("/") ?? -1;
    const byComponent = slash > 0 ? this.#byComponent.get(repository?.slice(0, slash) ?? "") : undefined;
    if (byComponent === undefined || (byPrefix !== undefined && byPrefix !== byComponent)) {
      return byPrefix && { entry: byPrefix, repository };
    }
    return { entry: byComponent, repository: parseRepository(repository?.slice(slash + 1) ?? "") };
  }

  #hosted(host: string | undefined): Entry | undefined {
    return this.#byHost.size === 0 ? undefined : this.#byHost.get(hostName(host));
  }

  /** The chain of `next`; a name that comes round again ends it. */
  #targets(first: Entry, repository: Repository | undefined, tag: string | undefined): [Target, ...Target[]] {
    const targets: Target[] = [];
    const seen: Entry[] = [];
    for (let entry: Entry | undefined = first; entry !== undefined && !seen.includes(entry); ) {
      seen.push(entry);
      const { upstream, library, next }: Routing = entry.routing;
      const there = library ? withLibrary(repository) : repository;
      targets.push({
        upstream,
        repository: there,
        allowed: there === undefined || entry.permits(there, tag),
        tagRule: there === undefined ? undefined : entry.tagRule(there),
        onAbsent: next?.on.includes("absent") ?? false,
        onFailure: next?.on.includes("failure") ?? false,
      });
      entry = next && this.#byName.get(next.upstream);
    }
    return targets as [Target, ...Target[]];
  }

  #indexBy(keys: (routing: Routing) => readonly string[]): Map<string, Entry> {
    const index = new Map<string, Entry>();
    for (const entry of this.#entries)
      for (const key of keys(entry.routing)) index.set(key.toLowerCase(), entry);
    return index;
  }
}

/** Docker Hub's official images have one component when written and two when asked for (docs/clients.md 6). */
function withLibrary(repository: Repository | undefined): Repository | undefined {
  return repository === undefined || repository.includes("/")
    ? repository
    : parseRepository(`library/${repository}`);
}

function tagOf(route: Route): string | undefined {
  return route.kind === "manifest" && route.reference.kind === "tag" ? route.reference.tag : undefined;
}

/** Without port; an IPv6 literal keeps its brackets. */
function hostName(host: string | undefined): string {
  return (host ?? "").toLowerCase().replace(/:\d+$/, "");
}

interface Permission {
  readonly permits: (repository: string, tag: string | undefined) => boolean;
  readonly tagRule: (repository: string) => TagRule | undefined;
}

/**
 * A glob without a colon speaks of repositories, and of all their tags; one with a colon of those tags only, so a
 * digest is let through an allow list when some tag of its repository could be.
 */
function permission(allow: readonly string[], deny: readonly string[]): Permission {
  const allowed = allow.map(splitGlob);
  const denied = deny.map(splitGlob);
  const namesTags = [...allowed, ...denied].some(({ tags }) => tags !== undefined);
  const permits: Permission["permits"] = (repository, tag) => {
    const covers = ({ repositories, tags }: SplitGlob, whole: boolean): boolean =>
      repositories(repository) && (tags === undefined || (tag === undefined ? !whole : tags(tag)));
    if (denied.some((glob) => covers(glob, true))) return false;
    return allowed.length === 0 || allowed.some((glob) => covers(glob, false));
  };
  return {
    permits,
    tagRule(repository) {
      if (!namesTags) return undefined;
      const ofTags = ({ repositories, tags }: SplitGlob): boolean =>
        tags !== undefined && repositories(repository);
      if (!denied.some(ofTags) && !allowed.some(ofTags)) return undefined;
      return (tag) => permits(repository, tag);
    },
  };
}

interface SplitGlob {
  readonly repositories: (repository: string) => boolean;
  readonly tags: ((tag: string) => boolean) | undefined;
}

function splitGlob(glob: string): SplitGlob {
  const colon = glob.indexOf(":");
  if (colon < 0) return { repositories: picomatch(glob), tags: undefined };
  return { repositories: picomatch(glob.slice(0, colon)), tags: picomatch(glob.slice(colon + 1)) };
}
