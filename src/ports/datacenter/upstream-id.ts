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
