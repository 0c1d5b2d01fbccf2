// The spans that wait to be sent: at most so many, in the SDK's own queue, which drops what is beyond and keeps to itself that it
// has. What is dropped, and what the receiver did not take, is told here.
import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import {
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
} from "@opentelemetry/sdk-trace";
import { scrub } from "../scrub.ts";

/** Spans in one request to the receiver, at most. */
export const largestBatch = 512;
const longestReason = 512;

export interface BoundedSpansOptions {
  readonly queue: number;
  /** Milliseconds, as `exportTimeout`. */
  readonly delay: number;
  readonly exportTimeout: number;
  readonly lost: (spans: number, reason: string) => void;
}

export class BoundedSpans implements SpanProcessor {
  readonly #options: BoundedSpansOptions;
  readonly #batches: BatchSpanProcessor;
  /** As many as the SDK's queue has. */
  #waiting = 0;

  constructor(exporter: SpanExporter, options: BoundedSpansOptions) {
    const { queue, delay, exportTimeout } = options;
    this.#options = options;
    this.#batches = new BatchSpanProcessor({
      exporter: {
        export: (spans, done) => this.#export(exporter, spans, done),
        shutdown: () => exporter.shutdown(),
      },
      maxQueueSize: queue,
      maxExportBatchSize: Math.min(queue, largestBatch),
      scheduledDelayMillis: delay,
      exportTimeoutMillis: exportTimeout,
    });
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    const { queue, lost } = this.#options;
    if (this.#waiting >= queue) {
      lost(1, `${queue} spans wait already`);
      return;
    }
    this.#waiting++;
    this.#batches.onEnd(span);
  }

  #export(exporter: SpanExporter, spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.#waiting -= spans.length;
    const ended = (result: ExportResult): void => {
      if (result.code !== ExportResultCode.SUCCESS) this.#options.lost(spans.length, reasonOf(result.error));
      done(result);
    };
    try {
      exporter.export(spans, ended);
    } catch (error) {
      ended({
        code: ExportResultCode.FAILED,
        error: error instanceof Error ? error : new Error(String(error)),
      });
    }
  }

  forceFlush(): Promise<void> {
    return this.#batches.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#batches.shutdown();
  }
}

/** Of a failed export, for people: the status or what the system says, and never what the receiver has answered. */
export function reasonOf(error: Error | undefined): string {
  const { code, message } = (error ?? {}) as { readonly code?: unknown; readonly message?: string };
  if (typeof code === "number") return `the receiver answers ${code}`;
  return scrub(message || "the receiver does not take them", longestReason);
}
