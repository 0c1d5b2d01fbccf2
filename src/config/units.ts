// Durations, sizes and shares as people write them. A number without a unit is refused: `timeout: 500` has been
// read as 500 nanoseconds by one registry and as 500 milliseconds by its users.

/** The value, or what was expected instead; `expected` completes "found X, expected ...". */
export type Parsed<T> = { readonly value: T } | { readonly expected: string };

const durationGrammar = /^(\d{1,15}(?:\.\d{1,6})?) ?(ms|s|m|h|d)$/;
const sizeGrammar = /^(\d{1,15})(?:\.(\d{1,12}))? ?([kKMGTP]i?)?B$/;
const percentGrammar = /^(\d{1,3}(?:\.\d{1,3})?) ?%$/;
const bareNumber = /^\d+(?:\.\d+)?$/;

/** Longest first. */
const durationUnits = new Map([
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
]);

const sizeUnits = new Map([
  ["", 1n],
  ["k", 1000n],
  ["K", 1000n],
  ["M", 1000n ** 2n],
  ["G", 1000n ** 3n],
  ["T", 1000n ** 4n],
  ["P", 1000n ** 5n],
  ["Ki", 1024n],
  ["Mi", 1024n ** 2n],
  ["Gi", 1024n ** 3n],
  ["Ti", 1024n ** 4n],
  ["Pi", 1024n ** 5n],
]);

/**
 * `500ms`, `60s`, `10m`, `1.5h`, `7d` in milliseconds, rounded to a whole one; `forever` is Infinity where allowed.
 * @param bounds inclusive, milliseconds
 */
export function parseDuration(
  text: string,
  bounds: { readonly min: number; readonly max: number; readonly forever: boolean },
): Parsed<number> {
  if (bounds.forever && text === "forever") return { value: Number.POSITIVE_INFINITY };
  if (bareNumber.test(text)) {
    return { expected: `a unit after the number: ${text}ms, ${text}s, ${text}m, ${text}h or ${text}d` };
  }
  const [, number, unit = ""] = durationGrammar.exec(text) ?? [];
  const length = durationUnits.get(unit);
  if (number === undefined || length === undefined) {
    const alternative = bounds.forever ? ", or forever" : "";
    return { expected: `a duration with a unit, such as 500ms, 60s, 10m or 7d${alternative}` };
  }
  const value = Math.round(Number(number) * length);
  if (value < bounds.min) return { expected: `at least ${formatDuration(bounds.min)}` };
  if (value > bounds.max) return { expected: `at most ${formatDuration(bounds.max)}` };
  return { value };
}

/**
 * `50GB`, `512MiB`, `1.5TiB` in bytes: `MB` is 1000 * 1000, `MiB` is 1024 * 1024, a part of a byte is dropped.
 * @param min inclusive, bytes
 */
export function parseSize(text: string, min: number): Parsed<number> {
  if (bareNumber.test(text)) {
    return { expected: `a unit after the number: ${text}MB, ${text}GB, ${text}MiB or ${text}GiB` };
  }
  const [, whole, fraction = "", prefix = ""] = sizeGrammar.exec(text) ?? [];
  const unit = sizeUnits.get(prefix);
  if (whole === undefined || unit === undefined) {
    return { expected: "a size with a unit, such as 50GB, 512MiB or 1.5TiB" };
  }
  // Integers throughout: 1.1 * 1024 ** 4 in floating point is not what was written.
  const value = Number((BigInt(whole + fraction) * unit) / 10n ** BigInt(fraction.length));
  if (value < min) return { expected: `at least ${formatSize(min)}` };
  if (value > Number.MAX_SAFE_INTEGER) return { expected: "less than 8PiB" };
  return { value };
}

/** `90%` as 0.9. `min` and `max` are inclusive, in percent. */
export function parsePercent(text: string, min: number, max: number): Parsed<number> {
  const [, number] = percentGrammar.exec(text) ?? [];
  if (number === undefined) return { expected: `a percentage with its sign, such as ${max}%` };
  const percent = Number(number);
  if (percent < min || percent > max) return { expected: `a percentage from ${min}% to ${max}%` };
  return { value: percent / 100 };
}

/** The shortest whole number of one unit; parseDuration reads it back exactly. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds === Number.POSITIVE_INFINITY) return "forever";
  if (milliseconds === 0) return "0s";
  const [unit, length] = [...durationUnits].find(([, each]) => milliseconds % each === 0) ?? ["ms", 1];
  return `${milliseconds / length}${unit}`;
}

/** The smallest whole number of one unit, decimal or binary; parseSize reads it back exactly. */
export function formatSize(bytes: number): string {
  let shortest = `${bytes}B`;
  let count = BigInt(bytes);
  for (const [prefix, unit] of sizeUnits) {
    if (BigInt(bytes) % unit !== 0n || BigInt(bytes) / unit >= count) continue;
    count = BigInt(bytes) / unit;
    shortest = `${count}${prefix === "k" ? "K" : prefix}B`;
  }
  return shortest;
}

/** 0.9 as `90%`. */
export function formatPercent(fraction: number): string {
  return `${Number((fraction * 100).toFixed(3))}%`;
}
