// The chain of upstreams that are asked one after the other, each by the `next` of the one before it.

/** The upstreams behind the one of this name, by `next`, each once: in a circle up to the one that leads back to it. */
export function namesBehind(first: string, nextOf: (name: string) => string | undefined): string[] {
  const found: string[] = [];
  for (let at = nextOf(first); at !== undefined && at !== first && !found.includes(at); at = nextOf(at))
    found.push(at);
  return found;
}
