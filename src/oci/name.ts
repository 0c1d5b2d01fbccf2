// Repository names and tags (distribution-spec, "Pulling manifests"), and patterns over them.

declare const repositoryBrand: unique symbol;
declare const tagBrand: unique symbol;

/** A repository name as the distribution-spec allows it, at most 255 characters. */
export type Repository = string & { readonly [repositoryBrand]: true };
/** A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`. */
export type Tag = string & { readonly [tagBrand]: true };

const maxRepositoryLength = 255;
const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const repositoryGrammar = new RegExp(`^${component}(?:/${component})*$`);
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Undefined when the name breaks the spec's grammar or is longer than 255 characters. */
export function parseRepository(text: string): Repository | undefined {
  return text.length <= maxRepositoryLength && repositoryGrammar.test(text)
    ? (text as Repository)
    : undefined;
}

/** Whether `app` means `library/app`, as on Docker Hub; "strip": `library/app` means `app`. */
export type Library = boolean | "strip";

/**
 * The name a registry has for a repository. Docker Hub's official images are written with one component and stored under two
 * (docs/clients.md 6), and docker asks every registry mirror for them as they are stored. Undefined for a name that is too long
 * then.
 */
export function inLibrary(repository: Repository, library: Library): Repository | undefined {
  if (library === true)
    return repository.includes("/") ? repository : parseRepository(`library/${repository}`);
  if (library === false || !repository.startsWith("library/")) return repository;
  const rest = repository.slice("library/".length);
  return rest.includes("/") ? repository : parseRepository(rest);
}

/** Undefined when the tag breaks the spec's grammar or is longer than 128 characters. */
export function parseTag(text: string): Tag | undefined {
  return tagGrammar.test(text) ? (text as Tag) : undefined;
}

/** A pattern over `repository:tag` in its parts. Without a colon it is over any tag; an empty part is over anything. */
export function splitTagPattern(pattern: string): readonly [repositories: string, tags: string] {
  const colon = pattern.indexOf(":");
  if (colon < 0) return [pattern || "**", "**"];
  return [pattern.slice(0, colon) || "**", pattern.slice(colon + 1) || "**"];
}
