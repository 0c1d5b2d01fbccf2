// The id and the trace of a request in logs: the client's own where they are harmless, else an id made here.
import { randomUUID } from "node:crypto";
import { formatTraceparent, parseTraceparent } from "../ports/tracing/traceparent.ts";

const idGrammar = /^[A-Za-z0-9._-]{1,64}$/;

/** The client's X-Request-Id if it is 1 to 64 letters, digits, `.`, `_` or `-`; else a random UUID. */
export function requestId(header: Header): string {
  return typeof header === "string" && idGrammar.test(header) ? header : randomUUID();
}

/** The trace a traceparent header names, 32 hex digits; undefined without one, or with one that cannot be read. */
export function traceId(header: Header): string | undefined {
  return traceOf(header)?.traceId;
}

/**
 * The traceparent for requests to upstream: the client's trace, a new parent (Trace Context, section 3.4), and of its
 * flags only `sampled`. Undefined when the client sent none: no trace starts here.
 */
export function tracedOn(header: Header): string | undefined {
  const trace = traceOf(header);
  if (trace === undefined) return undefined;
  // A parent must not be all zeros: the version of the UUID, 4, is among these digits.
  return formatTraceparent({ ...trace, parentId: randomUUID().replaceAll("-", "").slice(0, 16) });
}

type Header = string | readonly string[] | undefined;

function traceOf(header: Header) {
  return typeof header === "string" ? parseTraceparent(header) : undefined;
}
