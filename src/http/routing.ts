// Which upstream a request is for, and what that upstream calls the repository. The first of these that names an
// upstream decides: path prefix before `/v2`, first component after it, `?ns=`, virtual host, default (docs/clients.md
// 3). Two names of different upstreams are refused: the mirror never guesses.
import picomatch from "picomatch";
import { inLibrary, type Library, parseRepository, type Repository } from "../oci/name.ts";
import type { Route } from "../oci/route.ts";
import type { Scope } from "../ports/scope.ts";
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
  readonly library: Library;
  /** Globs over `repository` and `repository:tag`; an empty allow list allows all. Deny wins. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** It says itself what a caller may have; left out: everybody may have what this mirror's account may. */
  readonly passthrough?: boolean;
  /** The upstream to ask when this one does not have it, refuses it, or fails. */
  readonly next?:
    | { readonly upstream: string; readonly on: readonly ("absent" | "denied" | "failure")[] }
    | undefined;
}

/** One upstream to ask, with the repository by the name it has there. */
export interface Target {
  readonly upstream: Upstream;
  readonly repository: Repository | undefined;
  /** Whether the configuration allows what is asked for. */
  readonly allowed: boolean;
  /** Which tags of the repository the configuration allows; undefined when it makes no difference between them. */
  readonly tagFilter?: TagFilter | undefined;
  /** See Routing. */
  readonly passthrough: boolean;
  /** Called when the upstream refuses this to the caller it is asked for. */
  readonly refused?: () => void;
  /** The filter is that of one caller: what it lets through is not for others. */
  readonly ofCaller?: boolean;
  /** Whether the next target is asked when this one does not have it, refuses it (401 or 403), or fails. */
  readonly onAbsent: boolean;
  readonly onDenied: boolean;
  readonly onFailure: boolean;
}

/** At least one, in the order in which they are asked. */
export type Targets = readonly [Target, ...Target[]];

export type Routed =
  | {
      readonly kind: "routed";
      readonly targets: Targets;
      /** The `ns` of the request, where it names an upstream: for the OCI-Namespace header. */
      readonly namespace: string | undefined;
    }
  /** The request names no upstream of this mirror, or two different ones. */
  | { readonly kind: "unknown" };

/** Whether the configuration allows the tag. */
export type TagFilter = (tag: string) => boolean;

interface Entry extends Permission {
  readonly routing: Routing;
}

const unknown: Routed = { kind: "unknown" };

export class Router {
  readonly #entries: readonly Entry[];
  /** The first upstream that says itself what a caller may have; undefined: none does. */
  readonly passthrough: Upstream | undefined;
  readonly #byName: ReadonlyMap<string, Entry>;
  readonly #byComponent: ReadonlyMap<string, Entry>;
  readonly #byNamespace: ReadonlyMap<string, Entry>;
  readonly #byHost: ReadonlyMap<string, Entry>;

  /** The first upstream is the default. Names, components, namespaces and hosts are distinct (config/ checks it). */
  constructor(routings: readonly [Routing, ...Routing[]]) {
    this.#entries = routings.map((routing) => ({ routing, ...permission(routing.allow, routing.deny) }));
    this.passthrough = routings.find(({ passthrough }) => passthrough === true)?.upstream;
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
    // Once a namespace is configured, one that is not must not reach the default upstream. While none is, `ns` says
    // nothing.
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

  /**
   * The route of a write as `target` names things, where `repository` is its name for that of the route. A push also
   * names the repository that a blob is to be mounted from: it is routed in the same way and must come out at the same
   * upstream. A mount from another upstream, from a repository that clients may not read, or from wherever upstream
   * finds the blob is left out, because a digest alone grants nothing (docs/design.md, rule 3): upstream then begins a
   * plain upload, and the client sends the blob. `host` is the Host header of the request; `mayRead` says what the caller may
   * read, everything when it is left out.
   */
  upstreamRoute(
    route: Route,
    target: Target,
    repository: Repository,
    host: string | undefined,
    mayRead?: (source: Target) => boolean,
  ): Route {
    if (!("repository" in route)) return route;
    if (route.kind !== "upload") return { ...route, repository };
    const { from: asked } = route.upload;
    const routed = asked === undefined ? undefined : this.route({ ...route, repository: asked }, host);
    const [source] = routed?.kind === "routed" ? routed.targets : [];
    const readable =
      source?.upstream.name === target.upstream.name && source.allowed && mayRead?.(source) !== false;
    const from = readable ? source.repository : undefined;
    const mount = from === undefined ? undefined : route.upload.mount;
    return { ...route, repository, upload: { ...route.upload, mount, from } };
  }

  /** What is asked for a repository as clients write it below the name of an upstream; undefined when there is no such upstream. */
  below(upstream: string, repository: Repository, tag: string | undefined): Targets | undefined {
    const entry = this.#byName.get(upstream);
    return entry && this.#targets(entry, repository, tag);
  }

  /** Whether the configuration allows anything of the repository. */
  permits({ upstream, repository }: Scope): boolean {
    return this.#byName.get(upstream)?.permits(repository, undefined) ?? false;
  }

  /** The upstream that the path names by its prefix or first component; undefined when neither names one. */
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

  /** The chain of `next`, up to an upstream that is already in it. */
  #targets(first: Entry, repository: Repository | undefined, tag: string | undefined): Targets {
    const targets: Target[] = [];
    const seen: Entry[] = [];
    for (let entry: Entry | undefined = first; entry !== undefined && !seen.includes(entry); ) {
      seen.push(entry);
      const { upstream, library, next }: Routing = entry.routing;
      const upstreamRepository = repository && inLibrary(repository, library);
      targets.push({
        upstream,
        repository: upstreamRepository,
        allowed: upstreamRepository === undefined || entry.permits(upstreamRepository, tag),
        passthrough: entry.routing.passthrough === true,
        tagFilter: upstreamRepository === undefined ? undefined : entry.tagFilter(upstreamRepository),
        onAbsent: next?.on.includes("absent") ?? false,
        onDenied: next?.on.includes("denied") ?? false,
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

function tagOf(route: Route): string | undefined {
  return route.kind === "manifest" && route.reference.kind === "tag" ? route.reference.tag : undefined;
}

/** Without port; an IPv6 literal keeps its brackets. */
function hostName(host: string | undefined): string {
  return (host ?? "").toLowerCase().replace(/:\d+$/, "");
}

interface Permission {
  readonly permits: (repository: string, tag: string | undefined) => boolean;
  readonly tagFilter: (repository: string) => TagFilter | undefined;
}

/**
 * A glob without a colon is about repositories and all their tags, one with a colon about those tags only. A request by
 * digest names no tag: a deny glob over tags does not concern it, and an allow glob over tags lets it through.
 */
function permission(allow: readonly string[], deny: readonly string[]): Permission {
  const allowed = allow.map(splitGlob);
  const denied = deny.map(splitGlob);
  const namesTags = [...allowed, ...denied].some(({ tags }) => tags !== undefined);
  const permits: Permission["permits"] = (repository, tag) => {
    const denies = ({ repositories, tags }: SplitGlob): boolean =>
      repositories(repository) && (tags === undefined || (tag !== undefined && tags(tag)));
    const allows = ({ repositories, tags }: SplitGlob): boolean =>
      repositories(repository) && (tags === undefined || tag === undefined || tags(tag));
    return !denied.some(denies) && (allowed.length === 0 || allowed.some(allows));
  };
  return {
    permits,
    tagFilter(repository) {
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
