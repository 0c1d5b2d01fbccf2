// What is told of the way of one request: spans (OpenTelemetry, "Tracing API"), of which one is begun for the request and others
// below it for what it waits for. The code that does the work asks `currentSpan()`, which is undefined wherever nothing is traced:
// without `otel` in the configuration always. Implementations live in src/telemetry/otel.
import { AsyncLocalStorage } from "node:async_hooks";
import type { RequestEvent } from "../event.ts";

/** By the names of OpenTelemetry's semantic conventions, ours below `entrepot.`. Nothing in them is secret. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** `client`: a question to another server; `internal`: work of this one. */
export type SpanKind = "internal" | "client";

export interface Span {
  /** 32 hex digits. */
  readonly traceId: string;
  /** The header that makes this span the parent of what another server does (W3C Trace Context, section 3.2). */
  readonly traceparent: string;
  /**
   * A span that begins now, below this one. Undefined when this one has ended, since what goes on then is not its work, and
   * when it has 128 already.
   */
  child(name: string, attributes: SpanAttributes, kind?: SpanKind): Span | undefined;
  set(attributes: SpanAttributes): void;
  /** What this span waits for is the work of another one. */
  link(to: Span): void;
  /** Only the first call counts. `error`: why it has failed; left out: it has not. */
  end(error?: unknown): void;
}

/** The span of a request. */
export interface RequestSpan extends Span {
  /** Ends it. `whole`: this process makes the event; otherwise it only knows what HTTP shows. */
  finish(event: RequestEvent, whole: boolean): void;
}

/** Begins the spans of requests. */
export interface RequestTracing {
  /** Undefined: this request is not traced. `traceparent`: the client's header of that name. */
  begin(method: string, traceparent: string | undefined): RequestSpan | undefined;
}

const spans = new AsyncLocalStorage<Span>();

/** The span that what is being done belongs to; undefined: nothing of it is traced. */
export function currentSpan(): Span | undefined {
  return spans.getStore();
}

/** Does the work, and all that comes of it, in the span; without one as it would be done anyway. */
export function within<T>(span: Span | undefined, work: () => T): T {
  return span === undefined ? work() : spans.run(span, work);
}

/** Does the work in a span of its own, which ends with it. */
export async function inSpan<T>(
  name: string,
  attributes: SpanAttributes,
  work: (span: Span | undefined) => Promise<T>,
  kind?: SpanKind,
): Promise<T> {
  const span = currentSpan()?.child(name, attributes, kind);
  if (span === undefined) return await work(undefined);
  return await endedBy(
    span,
    within(span, () => work(span)),
  );
}

/** Ends the span with the work. */
export async function endedBy<T>(span: Span, work: Promise<T>): Promise<T> {
  try {
    const value = await work;
    span.end();
    return value;
  } catch (error) {
    span.end(error);
    throw error;
  }
}
