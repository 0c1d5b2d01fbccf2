// Errors of S3 and the SDK as a StoreError. Its message has the bucket, the action and a code, and never text of the
// server or the SDK, which may hold a signed URL or parts of a signature.
import { ProxyError } from "../../outbound/tunnel.ts";
import { StoreError, type StoreErrorCode } from "../../ports/blobs.ts";
import { systemCode } from "../store-failure.ts";

/** An answer of S3 that is not a success. */
export interface S3Refusal {
  /** HTTP status. */
  readonly status: number;
  /** As in S3's list of error responses; an answer to HEAD has only the status. */
  readonly code: string;
}

/** A failure that the circuit counts: S3 as a whole does not work. */
export class S3Outage extends StoreError {}

/** The refusal in what the SDK threw; undefined when there was no answer. */
export function refusalOf(error: unknown): S3Refusal | undefined {
  if (!(error instanceof Error)) return undefined;
  const { $metadata } = error as { $metadata?: { httpStatusCode?: unknown } };
  const status = $metadata?.httpStatusCode;
  return typeof status === "number" ? { status, code: wordOf(error.name) } : undefined;
}

/** Statuses from 500 on that a retry does not help: the request is unknown (501), or there is no room (507). */
const lasting = new Set([501, 507]);

/** Worth a retry: a broken connection, or an answer that says "not now". A time-out is not: its time is used up. */
export function isPassing(error: unknown): boolean {
  const refusal = refusalOf(error);
  if (refusal !== undefined)
    return (refusal.status >= 500 && !lasting.has(refusal.status)) || refusal.status === 429;
  const code = systemCode(error);
  return code !== undefined && /^(?:ECONN|EPIPE|EAI_AGAIN)/.test(code);
}

/** No answer at all, or "not now". */
export function isUnanswered(error: unknown): boolean {
  const refusal = refusalOf(error);
  return refusal === undefined || refusal.status === 503 || refusal.status === 429;
}

/** S3 refused one action: StoreError `no_space` or `unavailable`. `action` completes "cannot …". */
export function s3Failure(bucket: string, action: string, error: unknown): StoreError {
  return new StoreError(codeOf(error), messageOf(bucket, action, reasonOf(error)), {
    cause: bareCause(error),
  });
}

/** As `s3Failure`, for what the circuit counts: StoreError `unavailable`. */
export function s3Outage(bucket: string, action: string, error: unknown): S3Outage {
  return new S3Outage("unavailable", messageOf(bucket, action, reasonOf(error)), { cause: bareCause(error) });
}

/** An answer that S3's protocol does not allow: StoreError `io`. */
export function s3ProtocolError(bucket: string, action: string, reason: string): StoreError {
  return new StoreError("io", messageOf(bucket, action, reason));
}

function messageOf(bucket: string, action: string, reason: string): string {
  return `S3 bucket ${bucket}: cannot ${action}: ${reason}`;
}

function codeOf(error: unknown): StoreErrorCode {
  const { status, code } = refusalOf(error) ?? {};
  return status === 507 || code === "QuotaExceeded" ? "no_space" : "unavailable";
}

function reasonOf(error: unknown): string {
  const refusal = refusalOf(error);
  if (refusal !== undefined) return `it answered ${refusal.status} ${refusal.code}`;
  if (!(error instanceof Error)) return "for an unknown reason";
  if (error instanceof ProxyError) return error.message;
  // Before the name: the SDK calls a connection that was reset a time-out.
  const code = systemCode(error);
  if (code !== undefined) return wordOf(code);
  if (error.name === "TimeoutError") return "no answer in time";
  if (error.name === "AbortError") return "given up";
  // Thrown here, with a count of bytes.
  if (error instanceof RangeError) return error.message;
  return wordOf(error.name);
}

/** Name and codes only: errors of the SDK hold the whole response, in which servers may repeat the request. */
function bareCause(error: unknown): Error {
  const { status, code } = refusalOf(error) ?? {};
  const cause = new Error(status === undefined ? reasonOf(error) : `HTTP status ${status}`);
  cause.name = code ?? (error instanceof Error ? wordOf(error.name) : "Error");
  return cause;
}

function wordOf(name: string): string {
  return /^[\w.-]{1,64}$/.test(name) ? name : "unnamed";
}
