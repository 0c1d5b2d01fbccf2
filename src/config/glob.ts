// Patterns over repositories and tags.
import picomatch from "picomatch";
import { splitTagPattern } from "../oci/name.ts";
import type { Parsed } from "./units.ts";

const maxLength = 512;

/** Names have no brackets, so one without its partner is a slip, which picomatch would quietly never match. */
function isGlob(text: string): boolean {
  try {
    picomatch.makeRe(text, { debug: true, strictBrackets: true });
    return true;
  } catch {
    return false;
  }
}

function parseGlob(
  text: string,
  parts: (pattern: string) => readonly string[],
  form: string,
): Parsed<string> {
  const value = text.trim();
  if (value === "" || value.length > maxLength) {
    return { expected: `a pattern of 1 to ${maxLength} characters over ${form}` };
  }
  return parts(value).every(isGlob)
    ? { value }
    : { expected: `a pattern over ${form}, with every bracket closed and no part empty` };
}

/** Over `repository:tag`, 1 to 512 characters. */
export function parseTagGlob(text: string): Parsed<string> {
  return parseGlob(text, (pattern) => [pattern], "repository:tag, such as team/**:latest");
}

/** Over `repository`, or over `repository:tag` from the first colon on; 1 to 512 characters. */
export function parsePermissionGlob(text: string): Parsed<string> {
  const parts = (pattern: string): string[] => {
    const colon = pattern.indexOf(":");
    return colon < 0 ? [pattern] : [pattern.slice(0, colon), pattern.slice(colon + 1)];
  };
  return parseGlob(text, parts, "repository or repository:tag, such as team/** or team/**:v*");
}

/** Over repositories alone, or over tags alone; 1 to 512 characters. `form`: of which, with an example. */
export function parseNameGlob(text: string, form: string): Parsed<string> {
  const expected = `a pattern over ${form}, without a colon`;
  return text.includes(":") ? { expected } : parseGlob(text, (pattern) => [pattern], form);
}

/** Over the values of a claim of a token; 1 to 512 characters. `form`: of which, with an example. */
export function parseClaimGlob(text: string, form: string): Parsed<string> {
  return parseGlob(text, (pattern) => [pattern], form);
}

/** Signs of a pattern whose parts cannot be told by looking at its characters: classes, negations, alternatives in (). */
const elaborate = /[[\]()!+@\\]/;

/** Why no name can match a pattern over `repository:tag`; undefined when one can, or may. */
export function whyNothingMatches(pattern: string): string | undefined {
  const [repositories, tags] = splitTagPattern(pattern);
  if (elaborate.test(pattern)) return undefined;
  const [odd] = /[^a-z0-9._/{},*?-]/.exec(repositories) ?? [];
  if (odd !== undefined) return `no repository has ${JSON.stringify(odd)} in its name`;
  if (/^\/|\/\/|\/$/.test(repositories)) return "no part of a repository's name is empty";
  const [oddInTag] = /[^A-Za-z0-9._{},*?-]/.exec(tags) ?? [];
  return oddInTag === undefined ? undefined : `no tag has ${JSON.stringify(oddInTag)} in it`;
}

/** Whether `first` surely matches all that `second` does; patterns over `repository:tag`. */
export function covers(first: string, second: string): boolean {
  const [repositories, tags] = splitTagPattern(first);
  const [narrower, narrowerTags] = splitTagPattern(second);
  const partCovers = (wide: string, narrow: string, everything: boolean): boolean =>
    everything || wide === narrow || (!/[*?{}]/.test(narrow) && picomatch.isMatch(narrow, wide));
  if (elaborate.test(second)) return false;
  return (
    partCovers(repositories, narrower, repositories === "**") &&
    partCovers(tags, narrowerTags, tags === "*" || tags === "**")
  );
}
