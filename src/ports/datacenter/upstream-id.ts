// What the nodes of a datacenter call an upstream among themselves.
import { createHash } from "node:crypto";

/** What identifies a registry. */
export interface NamedUpstream {
  readonly name: string;
  readonly url: URL;
  readonly repositoryPrefix: string;
}

/**
 * The name and a hash of the address: two mirrors that share one Redis may use one name for different registries, and must not
 * mix their content.
 */
export function upstreamId({ name, url, repositoryPrefix }: NamedUpstream): string {
  const hash = createHash("sha256").update(`${url.href}\n${repositoryPrefix}`).digest("hex").slice(0, 12);
  return `${name}@${hash}`;
}

/** The upstream that other nodes call so; undefined when there is none. */
export function upstreamById<Upstream extends NamedUpstream>(
  upstreams: readonly Upstream[],
  id: string | null,
): Upstream | undefined {
  return upstreams.find((each) => upstreamId(each) === id);
}

/** What other nodes call the upstream of this name; undefined when there is none. */
export function idOfUpstream(upstreams: readonly NamedUpstream[], name: string): string | undefined {
  const upstream = upstreams.find((each) => each.name === name);
  return upstream && upstreamId(upstream);
}
