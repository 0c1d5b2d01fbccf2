// What S3 and the SDK throw, told as a StoreError: bucket, deed and code, and never what a server or a library wrote,
// which may hold a signed URL or parts of a signature.
import { StoreError, type StoreErrorCode } from "../../ports/blobs.ts";
import { systemCode } from "../store-failure.ts";

/** An answer of S3 that is not a success. */
export interface S3Refusal {
  /** HTTP status. */
  readonly status: number;
  /** As in S3's list of error responses; of HEAD only the status is known. */
  readonly code: string;
}

/** S3 as a whole does not do its work: what the circuit counts. Told to others as the StoreError it is. */
export class S3Outage extends StoreError {}

/** The refusal in what the SDK threw; undefined when there was no answer. */
export function refusalOf(error: unknown): S3Refusal | undefined {
  if (!(error instanceof Error)) return undefined;
  const { $metadata } = error as { $metadata?: { httpStatusCode?: unknown } };
  const status = $metadata?.httpStatusCode;
  return typeof status === "number" ? { status, code: wordOf(error.name) } : undefined;
}

/** Statuses from 500 on that say more than "not now": what is asked is unknown (501), or there is no room (507). */
const lasting = new Set([501, 507]);

/** Worth another try: no answer, or one that says "not now". A time-out is not: its time is used up. */
export function isPassing(error: unknown): boolean {
  const refusal = refusalOf(error);
  if (refusal !== undefined)
    return (refusal.status >= 500 && !lasting.has(refusal.status)) || refusal.status === 429;
  const code = systemCode(error);
  return code !== undefined && /^(?:ECONN|EPIPE|EAI_AGAIN)/.test(code);
}

/** No answer at all, or none for anybody. */
export function isOutage(error: unknown): boolean {
  const refusal = refusalOf(error);
  return refusal === undefined || refusal.status === 503 || refusal.status === 429;
}

/** `deed` completes "cannot …". */
export function s3Failure(bucket: string, deed: string, error: unknown, outage: boolean): StoreError {
  const text = `S3 bucket ${bucket}: cannot ${deed}: ${reasonOf(error)}`;
  const options = { cause: bareCause(error) };
  return outage ? new S3Outage("unavailable", text, options) : new StoreError(codeOf(error), text, options);
}

/** S3 answered what cannot be true. */
export function s3Lie(bucket: string, deed: string, why: string): StoreError {
  return new StoreError("io", `S3 bucket ${bucket}: cannot ${deed}: ${why}`);
}

function codeOf(error: unknown): StoreErrorCode {
  const { status, code } = refusalOf(error) ?? {};
  return status === 507 || code === "QuotaExceeded" ? "no_space" : "unavailable";
}

function reasonOf(error: unknown): string {
  const refusal = refusalOf(error);
  if (refusal !== undefined) return `it answered ${refusal.status} ${refusal.code}`;
  if (!(error instanceof Error)) return "for an unknown reason";
  // First: the SDK calls a connection that was reset a time-out.
  const code = systemCode(error);
  if (code !== undefined) return wordOf(code);
  if (error.name === "TimeoutError") return "no answer in time";
  if (error.name === "AbortError") return "given up";
  // Ours: a count of bytes.
  if (error instanceof RangeError) return error.message;
  return wordOf(error.name);
}

/** Name and codes only: the SDK hangs the whole response on its errors, and servers write requests into theirs. */
function bareCause(error: unknown): Error {
  const { status, code } = refusalOf(error) ?? {};
  const cause = new Error(status === undefined ? reasonOf(error) : `HTTP status ${status}`);
  cause.name = code ?? (error instanceof Error ? wordOf(error.name) : "Error");
  return cause;
}

function wordOf(name: string): string {
  return /^[\w.-]{1,64}$/.test(name) ? name : "unnamed";
}
