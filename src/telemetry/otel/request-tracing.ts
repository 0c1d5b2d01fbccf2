// Spans of requests, and those below them, by a tracer of the SDK.
import {
  type Context,
  ROOT_CONTEXT,
  type Span as SdkSpan,
  SpanKind as SdkSpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { RequestEvent } from "../../ports/event.ts";
import type {
  RequestSpan,
  RequestTracing,
  Span,
  SpanAttributes,
  SpanKind,
} from "../../ports/tracing/span.ts";
import { formatTraceparent, parseTraceparent, type Traceparent } from "../../ports/tracing/traceparent.ts";
import { scrub } from "../scrub.ts";
import type { OtelOptions } from "./otel-options.ts";
import { describeRequest, methodName } from "./request-attributes.ts";

/** Spans below one: a blob of many segments must not push everything else out of the queue. */
const mostChildren = 128;
const longestMessage = 512;

const kinds: Readonly<Record<SpanKind, SdkSpanKind>> = {
  internal: SdkSpanKind.INTERNAL,
  client: SdkSpanKind.CLIENT,
};

export function createRequestTracing(
  tracer: Tracer,
  { ofWorkers, scheme }: Pick<OtelOptions, "ofWorkers" | "scheme">,
): RequestTracing {
  // The worker's span is that of the server.
  const kind = ofWorkers ? SdkSpanKind.INTERNAL : SdkSpanKind.SERVER;
  return {
    begin(method, traceparent) {
      const parent = parseTraceparent(traceparent);
      if (parent === undefined ? ofWorkers : !parent.sampled) return undefined;
      const span = tracer.startSpan(methodName(method), { kind }, contextOf(parent));
      return span.isRecording() ? new TracedRequest(tracer, span, scheme) : undefined;
    },
  };
}

function contextOf(parent: Traceparent | undefined): Context {
  if (parent === undefined) return ROOT_CONTEXT;
  const { traceId, parentId: spanId } = parent;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
  });
}

class TracedWork implements Span {
  readonly #tracer: Tracer;
  readonly #span: SdkSpan;
  #children = 0;

  constructor(tracer: Tracer, span: SdkSpan) {
    this.#tracer = tracer;
    this.#span = span;
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  get traceparent(): string {
    const { traceId, spanId } = this.#span.spanContext();
    return formatTraceparent({ traceId, parentId: spanId, sampled: true });
  }

  child(name: string, attributes: SpanAttributes, kind: SpanKind = "internal"): Span | undefined {
    const span = this.#span;
    if (!span.isRecording()) return undefined;
    this.#children++;
    if (this.#children > mostChildren) {
      span.setAttribute("entrepot.spans_left_out", this.#children - mostChildren);
      return undefined;
    }
    const context = trace.setSpan(ROOT_CONTEXT, span);
    return new TracedWork(
      this.#tracer,
      this.#tracer.startSpan(name, { kind: kinds[kind], attributes: known(attributes) }, context),
    );
  }

  set(attributes: SpanAttributes): void {
    if (this.#span.isRecording()) this.#span.setAttributes(known(attributes));
  }

  link(to: Span): void {
    if (this.#span.isRecording() && to instanceof TracedWork)
      this.#span.addLink({ context: to.#span.spanContext() });
  }

  end(error?: unknown): void {
    if (!this.#span.isRecording()) return;
    if (error !== undefined) this.#fail(error);
    this.#span.end();
  }

  #fail(error: unknown): void {
    const { code, name, message = "" } = (error ?? {}) as Partial<Error> & { readonly code?: unknown };
    this.failed(scrub(message, longestMessage));
    this.#span.setAttribute("error.type", String(code ?? name ?? "_OTHER"));
  }

  protected failed(message: string): void {
    this.#span.setStatus({ code: SpanStatusCode.ERROR, message });
  }

  protected rename(name: string): void {
    this.#span.updateName(name);
  }
}

class TracedRequest extends TracedWork implements RequestSpan {
  readonly #scheme: string;

  constructor(tracer: Tracer, span: SdkSpan, scheme: string) {
    super(tracer, span);
    this.#scheme = scheme;
  }

  finish(event: RequestEvent, whole: boolean): void {
    const { name, attributes, failure } = describeRequest(event, whole, this.#scheme);
    this.rename(name);
    this.set(attributes);
    if (failure !== undefined) this.failed(failure);
    this.end();
  }
}

function known(attributes: SpanAttributes): Record<string, string | number | boolean> {
  const entries = Object.entries(attributes).filter(
    (each): each is [string, string | number | boolean] => each[1] !== undefined,
  );
  return Object.fromEntries(entries);
}
