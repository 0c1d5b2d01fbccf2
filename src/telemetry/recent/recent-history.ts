// The file that carries a day of traffic, and an hour of each upstream, over a restart. Losing it costs nothing but what the
// page shows of them.
import { open, rename, rm } from "node:fs/promises";
import type { SavedActivity } from "./recent-activity.ts";
import type { SavedUpstream } from "./recent-upstreams.ts";
import type { SavedRows } from "./time-ring.ts";

/** Bytes; a full file has about 20 KB, and 5 KB for each upstream, of which there are 100 at most. */
const largestFile = 4 * 1024 * 1024;
const version = 1;
/** More than any ring has rows or columns. */
const maxRows = 200;
const maxFields = 100;
const maxUpstreams = 100;
const maxCodes = 100;
const maxSamples = 1000;

/** Undefined when there is no file. Rejects when it cannot be read, or is not a history. */
export async function readHistory(path: string): Promise<SavedActivity | undefined> {
  const handle = await open(path, "r").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  try {
    const { size } = await handle.stat();
    if (size > largestFile) throw new Error(`the history has ${size} bytes, more than any of ours`);
    return parse(await handle.readFile("utf8"));
  } finally {
    await handle.close();
  }
}

/** Replaces the file as a whole. Rejects with the system's error and leaves nothing beside it. */
export async function writeHistory(path: string, history: SavedActivity): Promise<void> {
  const beside = `${path}.new`;
  try {
    const handle = await open(beside, "w", 0o600);
    try {
      await handle.writeFile(JSON.stringify({ version, ...history }));
    } finally {
      await handle.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  }
}

/** Throws when the text is not a history of this version. */
function parse(text: string): SavedActivity {
  const json = JSON.parse(text) as Partial<Record<string, unknown>> | null;
  // Files of the first program that wrote some have no upstreams.
  const { fields, minutes, halfHours, upstreams = [] } = json ?? {};
  if (json?.version !== version || !isNames(fields) || !isRows(minutes) || !isRows(halfHours))
    throw new Error("the history is damaged, or another version's");
  if (!isListOf(upstreams, maxUpstreams, isUpstream))
    throw new Error("what the history has of upstreams is damaged");
  return { fields, minutes, halfHours, upstreams };
}

function isUpstream(value: unknown): value is SavedUpstream {
  const { name, rows, codes, ttfb } = (value ?? {}) as Partial<Record<string, unknown>>;
  const isCode = (code: unknown): code is readonly [string, SavedRows] =>
    Array.isArray(code) && typeof code[0] === "string" && isRows(code[1]);
  const isSample = (sample: unknown): sample is number => isCount(sample);
  return (
    typeof name === "string" &&
    isRows(rows) &&
    isListOf(codes, maxCodes, isCode) &&
    isListOf(ttfb, maxSamples, isSample)
  );
}

function isListOf<T>(value: unknown, most: number, is: (member: unknown) => member is T): value is T[] {
  return Array.isArray(value) && value.length <= most && value.every(is);
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= maxFields && value.every((name) => typeof name === "string");
}

function isRows(value: unknown): value is SavedRows {
  return Array.isArray(value) && value.length <= maxRows && value.every(isRow);
}

function isRow(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  const [step, values] = value as unknown[];
  return isCount(step) && Array.isArray(values) && values.length <= maxFields && values.every(isCount);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
