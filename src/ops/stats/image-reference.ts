// References as people paste them, for all that is asked about images: `team/app:1.0`, `hub/library/busybox@sha256:…`, with or
// without the registry's name, or this mirror's, before it. Which upstream one is of is found as for a client's request
// (http/routing.ts); besides, the name of an upstream may stand before the repository. A registry that is none of these is
// refused: what is purged, pinned or fetched must not be another registry's.
import { isIP } from "node:net";
import type { UpstreamConfig } from "../../config/config.ts";
import type { Digest } from "../../oci/digest.ts";
import { type ImageName, parseImageName, referenceOf } from "../../oci/image-name.ts";
import { inLibrary, parseRepository, type Repository } from "../../oci/name.ts";
import type { Reference } from "../../oci/reference.ts";
import type { Scope } from "../../ports/scope.ts";

/** An upstream and the names clients know it by. */
export type NamedUpstream = Pick<
  UpstreamConfig,
  "name" | "component" | "namespaces" | "hosts" | "library" | "url"
>;

export interface ReferenceNames {
  readonly upstreams: readonly [NamedUpstream, ...NamedUpstream[]];
  /** Names of this mirror: hosts in lower case, without port. Addresses and localhost are its own without being named. */
  readonly own: readonly string[];
  /** The port clients pull from: a host that is not known, with this port, is a name of this mirror. Undefined: none. */
  readonly port: number | undefined;
}

/** A repository, by the name it has at its upstream. */
export interface RepositoryReference extends Scope {
  /** As clients write it below the upstream's name: without the `library/` that is put before it. */
  readonly written: Repository;
  /** Why it is this upstream, for people. */
  readonly chosenBy: string;
  /** What stands behind the colon, as it is: a tag, or a pattern over tags. */
  readonly tag: string | undefined;
  /** It counts more than the tag beside it. */
  readonly digest: Digest | undefined;
}

export interface ImageReference extends RepositoryReference {
  readonly reference: Reference;
}

/** Why a reference cannot be read, for people: what was found or expected. */
export interface Unreadable {
  readonly problem: string;
}

/** Longest reference that is read, in characters. */
export const longestReference = 500;

/** A tag or digest of a repository; `latest` where neither is named. */
export function parseImageReference(text: string, names: ReferenceNames): ImageReference | Unreadable {
  const found = parseRepositoryReference(text, names);
  const reference = "problem" in found ? undefined : referenceOf(found);
  if ("problem" in found) return found;
  return reference === undefined ? expected : { ...found, reference };
}

/** A repository, with what else the reference names: nothing, a tag, a pattern over tags, a digest. */
export function parseRepositoryReference(
  text: string,
  names: ReferenceNames,
): RepositoryReference | Unreadable {
  const name = text.length > longestReference ? undefined : parseImageName(text);
  if (name === undefined) return expected;
  const chosen = chooseUpstream(name, names);
  if ("problem" in chosen) return chosen;
  const { upstream, written, chosenBy } = chosen;
  const repository = written && inLibrary(written, upstream.library);
  if (written === undefined || repository === undefined) return expected;
  const { tag, digest } = name;
  return { upstream: upstream.name, repository, written, chosenBy, tag, digest };
}

const expected: Unreadable = {
  problem: "expected [upstream/]repository:tag or [upstream/]repository@sha256:…",
};

interface Chosen {
  readonly upstream: NamedUpstream;
  /** Undefined for what is no repository. */
  readonly written: Repository | undefined;
  readonly chosenBy: string;
}

/** In the order of http/routing.ts: component, namespace, virtual host, the first. */
function chooseUpstream(name: ImageName, names: ReferenceNames): Chosen | Unreadable {
  const { upstreams } = names;
  const { host } = name;
  const byHost = host === undefined ? undefined : registryOf(host, names);
  if (byHost !== undefined && "problem" in byHost) return byHost;
  const { upstream: hosted, by } = byHost ?? {};
  const { repository } = name;
  // The registry's own reference: what stands after its name is all its repository's.
  if (hosted !== undefined && by === "url") return chosenAs(hosted, repository, host);
  const slash = repository.indexOf("/");
  const first = repository.slice(0, Math.max(0, slash));
  const rest = () => parseRepository(repository.slice(slash + 1));
  const named = first === "" ? undefined : upstreams.find(({ component }) => component === first);
  if (named !== undefined) {
    if (by === "namespace" && hosted !== named)
      return {
        problem: `${host} is of upstream ${hosted?.name}, ${first} of ${named.name}: name one of them`,
      };
    return chosenAs(named, rest(), first);
  }
  if (hosted !== undefined) return chosenAs(hosted, repository, host);
  const short = upstreams.find((each) => each.name === first || each.namespaces.includes(first));
  if (first !== "" && short !== undefined) return chosenAs(short, rest(), first);
  const chosenBy =
    upstreams.length === 1 ? "it is the only one" : "the reference names none, and it is the first";
  return { upstream: upstreams[0], written: repository, chosenBy };
}

function chosenAs(upstream: NamedUpstream, written: Repository | undefined, by = ""): Chosen {
  return { upstream, written, chosenBy: `${by} in the reference names it` };
}

/** The upstream that a host is of; undefined for one of this mirror's own, which says nothing of the upstream. */
function registryOf(
  host: string,
  { upstreams, own, port }: ReferenceNames,
): { readonly upstream: NamedUpstream; readonly by: "namespace" | "host" | "url" } | Unreadable | undefined {
  const byNamespace = upstreams.find(({ namespaces }) => namespaces.includes(host));
  if (byNamespace !== undefined) return { upstream: byNamespace, by: "namespace" };
  const hostname = host.replace(/:\d+$/, "");
  const byHost =
    upstreams.find(({ component }) => component === host) ??
    upstreams.find(({ hosts }) => hosts.includes(hostname));
  if (byHost !== undefined) return { upstream: byHost, by: "host" };
  const [byUrl, second] = upstreams.filter(({ url }) => url.host === host);
  if (second !== undefined)
    return { problem: `${host} is the registry of several upstreams: name one of them instead of it` };
  if (byUrl !== undefined) return { upstream: byUrl, by: "url" };
  const isAddress = isIP(hostname.replace(/^\[(.*)\]$/, "$1")) > 0;
  if (hostname === "localhost" || isAddress || own.includes(hostname)) return undefined;
  if (port !== undefined && host === `${hostname}:${port}`) return undefined;
  return {
    problem: `the registry ${host} is none that this mirror fetches from: it has to stand in the namespaces of an upstream, or in opsPage.mirror when it is a name of this mirror`,
  };
}
