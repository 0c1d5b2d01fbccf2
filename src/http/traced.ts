// Where the trace of a request begins.
import { type RequestTracing, within } from "../ports/tracing/span.ts";
import type { Exchange } from "./exchange.ts";
import { isProbe } from "./serve.ts";

/** Serves as `serve`, each request in its span, but for probes; without `tracing` it is `serve` itself. */
export function traced(
  serve: (exchange: Exchange) => void,
  tracing: RequestTracing | undefined,
): (exchange: Exchange) => void {
  if (tracing === undefined) return serve;
  return (exchange) => {
    const { method = "", url } = exchange.request;
    const span = isProbe(url) ? undefined : tracing.begin(method, exchange.header("traceparent"));
    exchange.span = span;
    within(span, () => serve(exchange));
  };
}
