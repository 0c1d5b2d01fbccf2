// The zod types of settings that are not about upstreams alone.
import { z } from "zod";
import { parseAddress } from "./address.ts";
import { parseTagGlob } from "./glob.ts";
import type { Parsed } from "./parsed.ts";
import { parsedBy } from "./parsed-by.ts";
import { parseDuration, parsePercent, parseSize } from "./units.ts";

/** The longest delay Node's timers take, 2^31 - 1 ms, in whole days. */
const longestTimer = 24 * 86_400_000;
const hundredYears = 36_500 * 86_400_000;
const maxRules = 100;
const maxTextLength = 4096;

/** A time a timer waits for, 1 ms (or 0, where that has a meaning) to 24 days. */
export function timer(min: 0 | 1 = 1) {
  return parsedBy((text) => parseDuration(text.trim(), { min, max: longestTimer, forever: false }));
}

/** An age, 0 to 100 years or `forever`. */
export const age = parsedBy((text) =>
  parseDuration(text.trim(), { min: 0, max: hundredYears, forever: true }),
);

/** How often something is done: from 1 s to 100 years, or 0, which is never. */
export const interval = parsedBy((text): Parsed<number> => {
  const trimmed = text.trim();
  if (/^0 ?(?:ms|s|m|h|d)?$/.test(trimmed)) return { value: 0 };
  const parsed = parseDuration(trimmed, { min: 1_000, max: hundredYears, forever: false });
  return "expected" in parsed ? { expected: `${parsed.expected}, or 0 for never` } : parsed;
});

export function size(minBytes: number) {
  return parsedBy((text) => parseSize(text.trim(), minBytes));
}

export function percent(min: number, max: number) {
  return parsedBy((text) => parsePercent(text.trim(), min, max));
}

export const address = parsedBy((text) => parseAddress(text.trim()));

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

export const path = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return value === "" || value.length > maxTextLength || /\p{Cc}/u.test(value)
    ? { expected: `a path of 1 to ${maxTextLength} characters on one line` }
    : { value };
});

const tagGlob = parsedBy(parseTagGlob);

export const tagRules = z
  .array(z.object({ match: tagGlob, ttl: age }))
  .max(maxRules, `at most ${maxRules} rules`);
