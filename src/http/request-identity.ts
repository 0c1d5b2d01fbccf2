// The id and the trace of a request in logs: the client's own where they are harmless, else an id made here.
import { randomUUID } from "node:crypto";

const idGrammar = /^[A-Za-z0-9._-]{1,64}$/;

/** Version, trace, parent, flags; later versions may have more after them (W3C Trace Context, section 3.2.2). */
const traceparentGrammar =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?$/;
const longestTraceparent = 256;

/** The client's X-Request-Id if it is 1 to 64 letters, digits, `.`, `_` or `-`; else a random UUID. */
export function requestId(header: Header): string {
  return typeof header === "string" && idGrammar.test(header) ? header : randomUUID();
}

/** The trace a traceparent header names, 32 hex digits; undefined without one, or with one that cannot be read. */
export function traceId(header: Header): string | undefined {
  return traceOf(header)?.id;
}

/**
 * The traceparent for requests to upstream: the client's trace, a new parent (Trace Context, section 3.4), and of its
 * flags only `sampled`. Undefined when the client sent none: no trace starts here.
 */
export function tracedOn(header: Header): string | undefined {
  const trace = traceOf(header);
  if (trace === undefined) return undefined;
  // A parent must not be all zeros: the version of the UUID, 4, is among these digits.
  const parent = randomUUID().replaceAll("-", "").slice(0, 16);
  return `00-${trace.id}-${parent}-${trace.sampled ? "01" : "00"}`;
}

type Header = string | readonly string[] | undefined;

function traceOf(header: Header): { readonly id: string; readonly sampled: boolean } | undefined {
  if (typeof header !== "string" || header.length > longestTraceparent) return undefined;
  const [, version, id, flags, more] = traceparentGrammar.exec(header) ?? [];
  if (id === undefined || flags === undefined || (version === "00" && more !== undefined)) return undefined;
  return { id, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}
