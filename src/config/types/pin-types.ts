// What is written of pinned images: patterns and a budget.
import { parseTagGlob } from "../glob.ts";
import { formatPercent, formatSize, type Parsed, parsePercent, parseSize } from "../units.ts";

/** Bytes, or a share of the cache's size. */
export type PinBudget = { readonly bytes: number } | { readonly share: number };

/** Share of the cache's size that pinned images may have at most: the rest is for what clients ask for. */
export const largestShare = 0.9;

/** A size from 0B on, or from 0% to 90%. */
export function parsePinBudget(written: string): Parsed<PinBudget> {
  const value = written.trim();
  if (value.endsWith("%")) {
    const share = parsePercent(value, 0, largestShare * 100);
    return "value" in share ? { value: { share: share.value } } : share;
  }
  const bytes = parseSize(value, 0);
  if ("value" in bytes) return { value: { bytes: bytes.value } };
  return { expected: `${bytes.expected}, or a share of cache.maxSize such as 50%` };
}

export function formatPinBudget(budget: PinBudget): string {
  return "bytes" in budget ? formatSize(budget.bytes) : formatPercent(budget.share);
}

/** A pattern over `upstream/repository:tag` with both a slash and a tag; 1 to 512 characters. */
export function parsePinPattern(written: string): Parsed<string> {
  const parsed = parseTagGlob(written);
  if ("value" in parsed && /^[^/:]+\/[^:]+:[^:]+$/.test(parsed.value)) return parsed;
  return { expected: "a pattern over upstream/repository:tag, such as hub/team/**:v*" };
}
