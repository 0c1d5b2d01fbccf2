// Keys of several parts, for maps and caches: an upstream, a repository and what is asked of it.

/** A key no part can forge, whatever characters it holds. */
export function keyOf(...parts: readonly string[]): string {
  return JSON.stringify(parts);
}

/** Deletes every entry whose key, made by `keyOf`, begins with these parts and has more. */
export function deleteBelow(
  map: { keys(): Iterable<string>; delete(key: string): unknown },
  ...parts: readonly string[]
): void {
  const start = `${keyOf(...parts).slice(0, -1)},`;
  for (const key of map.keys()) if (key.startsWith(start)) map.delete(key);
}
