// The zod types of settings. Every input is text: the environment has nothing else, and YAML scalars are taken as
// written, so that a value means the same in both. An issue's message is what was expected.
import { z } from "zod";
import { parseAddress } from "./address.ts";
import type { Parsed } from "./parsed.ts";
import { Secret } from "./secret.ts";
import { parseDuration, parsePercent, parseSize } from "./units.ts";
import { parseUpstreamUrl } from "./upstream-url.ts";

/** The longest delay Node's timers take, 2^31 - 1 ms, in whole days. */
const longestTimer = 24 * 86_400_000;
const hundredYears = 36_500 * 86_400_000;
const maxRules = 100;
const maxTextLength = 4096;

function parsedBy<T>(parse: (text: string) => Parsed<T>) {
  return z.string({ error: "a value" }).transform((text, context): T => {
    const result = parse(text);
    if ("value" in result) return result.value;
    context.addIssue({ code: "custom", message: result.expected });
    return z.NEVER;
  });
}

/** A time a timer waits for, 1 ms (or 0, where that has a meaning) to 24 days. */
export function timer(min: 0 | 1 = 1) {
  return parsedBy((text) => parseDuration(text.trim(), { min, max: longestTimer, forever: false }));
}

/** An age, 0 to 100 years or `forever`. */
export const age = parsedBy((text) =>
  parseDuration(text.trim(), { min: 0, max: hundredYears, forever: true }),
);

export function size(minBytes: number) {
  return parsedBy((text) => parseSize(text.trim(), minBytes));
}

export function percent(min: number, max: number) {
  return parsedBy((text) => parsePercent(text.trim(), min, max));
}

export const address = parsedBy((text) => parseAddress(text.trim()));

export const url = parsedBy((text) => parseUpstreamUrl(text.trim()));

export const yesOrNo = parsedBy((text): Parsed<boolean> => {
  const word = text.trim().toLowerCase();
  return word === "true" || word === "false" ? { value: word === "true" } : { expected: "true or false" };
});

export function wholeNumber(min: number, max: number) {
  return parsedBy((text): Parsed<number> => {
    const value = /^\d{1,9}$/.test(text.trim()) ? Number(text) : Number.NaN;
    return value >= min && value <= max ? { value } : { expected: `a whole number from ${min} to ${max}` };
  });
}

export function oneOf<const T extends string>(words: readonly T[]) {
  return parsedBy((text): Parsed<T> => {
    const word = words.find((each) => each === text.trim().toLowerCase());
    return word === undefined ? { expected: `one of ${words.join(", ")}` } : { value: word };
  });
}

/** The name of an upstream; it is also a path prefix, where `v2` already means something. */
export const upstreamName = parsedBy((text): Parsed<string> => {
  const name = text.trim();
  return /^[a-z0-9-]{1,32}$/.test(name) && name !== "v2"
    ? { value: name }
    : { expected: "1 to 32 of a-z, 0-9 and -, and not v2" };
});

export const path = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return value === "" || value.length > maxTextLength || value.includes("\0")
    ? { expected: `a path of 1 to ${maxTextLength} characters` }
    : { value };
});

/** RFC 7617 section 2: a user-id has no colon, and neither part has a control character. */
export const username = parsedBy((text): Parsed<string> => {
  return /^[^\p{Cc}:]{1,4096}$/u.test(text)
    ? { value: text }
    : { expected: "a user name of at least one character, without a colon or control characters" };
});

/** Not trimmed: spaces may be part of a password. */
export const password = parsedBy((text): Parsed<Secret> => {
  return /^\P{Cc}{1,4096}$/u.test(text)
    ? { value: new Secret(text) }
    : { expected: "a password of 1 to 4096 characters on one line, without control characters" };
});

const glob = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return value === "" || value.length > 512
    ? { expected: "a pattern of 1 to 512 characters over repository:tag, such as team/**:latest" }
    : { value };
});

export const tagRules = z
  .array(z.object({ match: glob, ttl: age }))
  .max(maxRules, `at most ${maxRules} rules`);
