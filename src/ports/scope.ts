// One repository of one upstream: what tag records, links, kept answers and answers of "absent" are known of.
import type { Repository } from "../oci/name.ts";

export interface Scope {
  /** The name of the upstream. */
  readonly upstream: string;
  readonly repository: Repository;
}

export function isSameScope(a: Scope, b: Scope): boolean {
  return a.upstream === b.upstream && a.repository === b.repository;
}

/**
 * The key, in maps of this process, of something in the scope; of the scope itself without `what`. Whatever `what`
 * holds, it is no key of another scope: neither names of upstreams nor repositories have a space.
 */
export function keyIn({ upstream, repository }: Scope, what = ""): string {
  return `${upstream} ${repository} ${what}`;
}

/** Deletes every entry whose key, made by `keyIn`, is in the scope. */
export function deleteIn(
  map: { keys(): Iterable<string>; delete(key: string): unknown },
  scope: Scope,
): void {
  const start = keyIn(scope);
  for (const key of map.keys()) if (key.startsWith(start)) map.delete(key);
}
