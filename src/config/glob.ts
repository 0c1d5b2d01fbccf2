// Patterns over repositories and tags.
import picomatch from "picomatch";
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
