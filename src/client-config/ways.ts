// Which address of the mirror means which registry, for a client that says so in its own way (docs/clients.md 3, http/routing.ts).
import {
  baseOf,
  type ClientMirror,
  ClientProblem,
  isPlain,
  type Login,
  type MirroredRegistry,
} from "./mirror.ts";

/** How a client asks a mirror. */
export interface Manner {
  /** The client's name, for messages. */
  readonly client: string;
  /** Whether it sends `?ns=` with the host of what is pulled. */
  readonly namespace: boolean;
  /** Where it puts the path of a mirror's URL: before `/v2`, after it as the first part of the repository, or nowhere. */
  readonly path: "before" | "after" | "none";
  /** Left out: as it is with containerd, the name of a host comes after the path. */
  readonly hostsFirst?: true;
}

/** A registry, and the base URL at which this client gets it. */
export interface Way {
  readonly registry: MirroredRegistry;
  readonly url: URL;
}

export interface Ways {
  readonly ways: readonly Way[];
  /** A sentence for each registry that this client cannot be given. */
  readonly notes: readonly string[];
}

/** Throws ClientProblem when there is no way to any of the registries. */
export function waysOf(mirror: ClientMirror, manner: Manner): Ways {
  const ways: Way[] = [];
  const notes: string[] = [];
  const taken = new Set<string>();
  for (const registry of mirror.registries) {
    const url = urlOf(mirror, registry, manner);
    if (taken.has(registry.host))
      notes.push(
        `${named(registry)} has the same host as another upstream, ${registry.host}: give it namespaces of its own`,
      );
    else if (url === undefined) notes.push(noWay(mirror, registry, manner));
    else {
      taken.add(registry.host);
      ways.push({ registry, url });
    }
  }
  if (ways.length === 0) throw new ClientProblem(notes.join("\n") || "there is no registry to mirror");
  return { ways, notes };
}

function urlOf(mirror: ClientMirror, registry: MirroredRegistry, manner: Manner): URL | undefined {
  const { url } = mirror;
  const { namespace, isDefault, prefix, component, hosts } = registry;
  // A path of the mirror itself would end up in the repository.
  if (manner.path !== "before" && url.pathname !== "/" && registry.upstream !== undefined) return undefined;
  if (manner.namespace && namespace === "leads") return url;
  if (isDefault && (!manner.namespace || namespace === "ignored")) return url;
  const [host] = manner.namespace && namespace === "refused" ? [] : hosts;
  const byHost = host === undefined ? undefined : withHost(url, host);
  const path = { before: prefix, after: component, none: undefined }[manner.path];
  const byPath = path === undefined ? undefined : new URL(`${baseOf(url)}/${path}`);
  return manner.hostsFirst ? (byHost ?? byPath) : (byPath ?? byHost);
}

function withHost(url: URL, host: string): URL {
  const other = new URL(url);
  other.hostname = host;
  return other;
}

function noWay(
  mirror: ClientMirror,
  registry: MirroredRegistry,
  { client, path, namespace }: Manner,
): string {
  const { host } = registry;
  if (path !== "before" && mirror.url.pathname !== "/")
    return `${client} puts the path of a mirror behind /v2/: it needs one that is reached without a path, which ${baseOf(mirror.url)} is not`;
  const remedy = [
    ...(namespace ? [`namespaces: [${host}]`] : []),
    ...(path === "after" ? ["a component"] : []),
    "hosts: a name of the mirror that stands for it",
  ];
  return `${client} cannot tell the mirror that it means ${named(registry)}: give the upstream ${remedy.join(", or ")}`;
}

function named({ upstream, host }: MirroredRegistry): string {
  return upstream === undefined ? host : `${upstream} (${host})`;
}

/** Whether any of them asks who is asking. */
export function loginNeeded(ways: readonly Way[]): boolean {
  return ways.some(({ registry }) => registry.asksForLogin);
}

/** Hosts of the mirror that are asked, each once, in their order. */
export function mirrorHosts(ways: readonly Way[]): string[] {
  return [...new Set(ways.map(({ url }) => url.host))];
}

/**
 * What else the client needs to be let in: a login, whose place is `where`, unless the file has it; the authority of the mirror's
 * certificate; a certificate of its own.
 */
export function accessNotes(
  mirror: ClientMirror,
  ways: readonly Way[],
  { login, where }: { readonly login?: Login | undefined; readonly where: string },
): string[] {
  return [...(login === undefined ? loginNotes(ways, where) : []), ...certificateNotes(mirror)];
}

/** What is said where a login is needed and none was given; `where` is where it goes. */
export function loginNotes(ways: readonly Way[], where: string): string[] {
  return loginNeeded(ways) ? [`the mirror asks for a login: ${where}`] : [];
}

/** That the mirror's certificate may not be trusted, and that it wants one of the client, which no file here holds. */
export function certificateNotes(mirror: ClientMirror): string[] {
  const { ca, wantsCertificate = false } = mirror;
  return [
    ...(isPlain(mirror) || ca !== undefined
      ? []
      : ["where clients do not know the authority of the mirror's certificate: run it again with --ca FILE"]),
    ...(wantsCertificate
      ? [
          "the mirror refuses clients that show no certificate: docs/access.md says where each client keeps its own",
        ]
      : []),
  ];
}
