// The answer to a client whose write upstream refuses. Upstream's own errors are passed on when they are in the form of
// the registry API, because a push fails for reasons that only upstream knows: quotas, policies, signatures.
import { type Digest, parseDigest } from "../../oci/digest.ts";
import type { OciErrorCode } from "../../oci/error.ts";
import type { Result } from "../../ports/event.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { type Failure, failureOfError } from "../error.ts";
import type { WriteRequest } from "./write-request.ts";

/** Longest message taken from an error that is not quite in the form of the API, in characters. */
const longestMessage = 500;
/** Most digests read from one error. */
const maxNamed = 100;

const codes: ReadonlyMap<number, OciErrorCode> = new Map([
  [403, "DENIED"],
  [405, "UNSUPPORTED"],
  [413, "SIZE_INVALID"],
  [416, "BLOB_UPLOAD_INVALID"],
]);
const unknown = {
  manifest: "MANIFEST_UNKNOWN",
  blob: "BLOB_UNKNOWN",
  upload: "BLOB_UPLOAD_UNKNOWN",
} as const satisfies Record<WriteRequest["kind"], OciErrorCode>;

/**
 * The failure for upstream's answer with a `status` from 400, the body `text` and the header `retryAfter`. From 500,
 * and 407, it is a fault of upstream's (502); any other status is passed on.
 */
export function failureOfRefusal(
  write: WriteRequest,
  status: number,
  text: string | undefined,
  retryAfter: string | undefined,
): Failure {
  const errors = readErrors(text);
  const words = typeof errors === "object" ? { body: errors.body } : {};
  if (status === 508) return { ...failureOf("loop", status), ...words };
  if (status >= 500 || status === 407) return { ...failureOf("server_error", status), ...words };
  if (status === 429) {
    const seconds = /^\d{1,5}$/.test(retryAfter ?? "") ? Number(retryAfter) : undefined;
    return { ...failureOf("rate_limited", status, seconds), ...words };
  }
  const code = status === 404 || status === 410 ? unknown[write.kind] : (codes.get(status) ?? "UNKNOWN");
  const message = typeof errors === "string" ? errors : `the upstream registry refuses the write (${status})`;
  return { status, code, message, ...words };
}

/** The result of the request, for the event. */
export function resultOfRefusal({ status }: Failure): Result {
  if (status === 403) return "denied";
  return status === 429 || status >= 500 ? "error" : "pass";
}

/** The digests an error names: among them the blobs that a pushed manifest lacks. */
export function digestsNamed(text: string | undefined): readonly Digest[] {
  const found = text?.match(/\bsha(?:256|512):[0-9a-f]{64,128}\b/g) ?? [];
  const digests = [...new Set(found)].map(parseDigest).filter((digest) => digest !== undefined);
  return digests.slice(0, maxNamed);
}

function failureOf(
  code: "server_error" | "rate_limited" | "loop",
  status: number,
  retryAfter?: number,
): Failure {
  return failureOfError(
    new UpstreamError(code, "upstream failed a write", {
      status,
      ...(retryAfter === undefined ? {} : { retryAfter }),
    }),
  );
}

/** A body in the form of the API; else the message of its first error; undefined when it has none. */
function readErrors(text: string | undefined): { readonly body: string } | string | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
  const { errors } = (json ?? {}) as { errors?: unknown };
  if (!Array.isArray(errors)) return undefined;
  const { code, message } = (errors[0] ?? {}) as { code?: unknown; message?: unknown };
  if (typeof message !== "string") return undefined;
  return typeof code === "string" ? { body: text as string } : message.slice(0, longestMessage);
}
