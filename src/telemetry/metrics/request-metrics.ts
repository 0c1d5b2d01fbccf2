// Metrics that count finished requests. Everything is counted at the end of a request, from its one event, so the
// results sum to the requests and the bytes are those really sent.
import { Counter, Histogram, type Registry } from "prom-client";
import {
  type EventSink,
  probes,
  type RequestEvent,
  type Result,
  type RouteKind,
  results,
  routeKinds,
} from "../../ports/event.ts";
import {
  amount,
  closedList,
  codeLabel,
  methodLabel,
  readType,
  readTypes,
  resultLabel,
  sourceLabel,
  sourceLabels,
} from "./label.ts";
import { SeriesCounter } from "./series-counter.ts";

/** Seconds. 5 is the line above which a layer counts as slow. */
const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** Bytes per second, of blobs of 1 MiB and more: a smaller one measures the round trip. */
const throughputBuckets = [1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9];
const measuredSize = 1024 * 1024;
const throughputResults = ["hit", "miss", "joined", "other"] as const;

/** Answers that must be visible from the first one on: rate() does not see a series' first value. */
const startMethods = ["GET", "HEAD"];
const startCodes = ["200", "404", "500", "502", "503", "504"];
const startTimed: readonly RouteKind[] = ["blob", "manifest_tag", "manifest_digest"];
const startResults: readonly Result[] = ["hit", "miss", "joined"];

const routeLabel = closedList(routeKinds, "other");
const throughputResult = closedList(throughputResults, "other");

/** Registers the request metrics and returns the sink that feeds them. Called for every request, so it allocates little. */
export function createRequestMetrics(registry: Registry): EventSink {
  const { requests, httpRequests, aborts, duration, ttfb, responseBytes, throughput } = register(registry);
  return (event) => {
    const route = routeLabel(event.route);
    const result = resultLabel(event.result);
    requests.add(1, readType(route), result);
    httpRequests.add(1, route, methodLabel(event.method), codeLabel(event.status));
    duration.observe({ route, result }, amount(event.durationMs) / 1000);
    if (event.ttfbMs !== undefined) ttfb.observe({ route, result }, amount(event.ttfbMs) / 1000);
    responseBytes.add(amount(event.bytesSent), route, sourceLabel(event.source));
    if (event.abortedBy === "client") aborts.add(1, route);
    if (isMeasured(event))
      throughput.observe({ result: throughputResult(result) }, event.bytesSent / (event.durationMs / 1000));
  };
}

/** Registers the counter of probes and returns the sink that feeds it. */
export function createProbeMetrics(registry: Registry): EventSink {
  const counter = new Counter({
    name: "entrepot_probe_requests_total",
    help: "Questions for this node's health on the main listener, and of other mirrors for what is not held here (only_if_cached); they are in no other count of requests.",
    labelNames: ["probe", "code"],
    registers: [registry],
  });
  for (const probe of probes) counter.inc({ probe, code: probe === "only_if_cached" ? "504" : "200" }, 0);
  return ({ probe = "livez", status }) => counter.inc({ probe, code: codeLabel(status) });
}

/** A blob, or a large range of one, that the client got to its end. */
function isMeasured({ route, bytesSent, status, abortedBy, durationMs }: RequestEvent): boolean {
  if (route !== "blob" || !(bytesSent >= measuredSize) || !(durationMs > 0)) return false;
  return (status === 200 || status === 206) && abortedBy === undefined;
}

function register(registry: Registry) {
  const registers = [registry];
  const metrics = {
    requests: new SeriesCounter({
      name: "entrepot_requests_total",
      help: "Finished requests by what was asked for and how the answer came about; exclusive, sums to all.",
      labelNames: ["type", "result"],
      registry,
    }),
    httpRequests: new SeriesCounter({
      name: "entrepot_http_requests_total",
      help: "Finished requests by route, method and status.",
      labelNames: ["route", "method", "code"],
      registry,
    }),
    aborts: new SeriesCounter({
      name: "entrepot_http_client_aborts_total",
      help: "Requests whose client left before the end of the answer.",
      labelNames: ["route"],
      registry,
    }),
    duration: new Histogram({
      name: "entrepot_http_request_duration_seconds",
      help: "Time from a request's headers to the last byte of its answer.",
      labelNames: ["route", "result"],
      buckets: durationBuckets,
      registers,
    }),
    ttfb: new Histogram({
      name: "entrepot_http_request_ttfb_seconds",
      help: "Time from a request's headers to the first byte of its answer's body.",
      labelNames: ["route", "result"],
      buckets: durationBuckets,
      registers,
    }),
    responseBytes: new SeriesCounter({
      name: "entrepot_response_bytes_total",
      help: "Body bytes sent to clients, by where they came from.",
      labelNames: ["route", "source"],
      registry,
    }),
    throughput: new Histogram({
      name: "entrepot_blob_throughput_bytes_per_second",
      help: "Pace at which clients got whole answers of 1 MiB of a blob or more.",
      labelNames: ["result"],
      buckets: throughputBuckets,
      registers,
    }),
  };
  startAtZero(metrics);
  return metrics;
}

/** The histograms start with the series a mirror surely has: all of them would be 3000 lines per scrape. */
function startAtZero({
  requests,
  httpRequests,
  aborts,
  duration,
  ttfb,
  responseBytes,
  throughput,
}: ReturnType<typeof register>) {
  for (const result of throughputResults) throughput.zero({ result });
  for (const type of readTypes) for (const result of results) requests.add(0, type, result);
  for (const route of routeKinds) {
    aborts.add(0, route);
    for (const source of sourceLabels) responseBytes.add(0, route, source);
    for (const method of startMethods)
      for (const code of startCodes) httpRequests.add(0, route, method, code);
  }
  for (const route of startTimed) {
    for (const result of startResults) {
      duration.zero({ route, result });
      ttfb.zero({ route, result });
    }
  }
}
