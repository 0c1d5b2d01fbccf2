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
