// References as people paste them, for questions about one image: `team/app:1.0`, `hub/library/busybox@sha256:…`,
// with or without the registry's name, or this mirror's, before it.
import type { UpstreamConfig } from "../../config/config.ts";
import { inLibrary, parseRepository } from "../../oci/name.ts";
import { parseReference, type Reference } from "../../oci/reference.ts";
import type { Scope } from "../../ports/scope.ts";

/** An upstream and the names clients know it by. */
export type NamedUpstream = Pick<UpstreamConfig, "name" | "component" | "namespaces" | "library">;

export interface ImageReference extends Scope {
  readonly reference: Reference;
  /** Why it is this upstream, for people. */
  readonly chosenBy: string;
}

/** Longest reference that is read, in characters. */
export const longestReference = 500;

/** The first upstream where none is named, `latest` where there is no tag; undefined for what is not a reference. */
export function parseImageReference(
  text: string,
  upstreams: readonly [NamedUpstream, ...NamedUpstream[]],
): ImageReference | undefined {
  const [named = "", digest] = text
    .trim()
    .replace(/^[a-z-]+:\/\//, "")
    .split("@", 2);
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const name = colon < 0 ? named : named.slice(0, colon);
  const reference = parseReference(digest ?? (colon < 0 ? "latest" : named.slice(colon + 1)));
  const { upstream, rest, chosenBy } = chooseUpstream(name, upstreams);
  const written = parseRepository(rest);
  const repository = written && inLibrary(written, upstream.library);
  if (reference === undefined || repository === undefined) return undefined;
  return { upstream: upstream.name, repository, reference, chosenBy };
}

function chooseUpstream(
  name: string,
  upstreams: readonly [NamedUpstream, ...NamedUpstream[]],
): { upstream: NamedUpstream; rest: string; chosenBy: string } {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(0, slash)).toLowerCase();
  const rest = name.slice(slash + 1);
  const upstream = upstreams.find(
    ({ name, component, namespaces }) =>
      slash > 0 && (name === first || component === first || namespaces.includes(first)),
  );
  if (upstream !== undefined) return { upstream, rest, chosenBy: `${first} in the reference names it` };
  // A host that is no upstream's is this mirror's own. As in docker, a host has a dot or a port, or is localhost.
  const isHost = /^(?:localhost|[a-z0-9[][^:]*(?:\.[^:]+|\]|:\d+))/.test(first);
  const chosenBy =
    upstreams.length === 1 ? "it is the only one" : "the reference names none, and it is the first";
  return { upstream: upstreams[0], rest: isHost ? rest : name, chosenBy };
}
