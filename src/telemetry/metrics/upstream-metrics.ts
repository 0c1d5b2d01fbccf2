// Metrics of the traffic with upstream, from the notices about it.
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import {
  circuitStates,
  type Notice,
  type NoticeSink,
  tagRefreshOccasions,
  tagRefreshResults,
} from "../../ports/event.ts";
import { upstreamErrorCodes } from "../../ports/upstream.ts";
import { amount, closedList, codeLabel } from "./label.ts";

const upstreamTypes = ["manifest", "blob", "tags", "token"] as const;

const upstreamReasons = [...upstreamErrorCodes, "other"] as const;

/** Answers that must be visible from the first one on: rate() does not see a series' first value. */
const startCodes = ["200", "401", "404", "429", "500", "502", "503"];

/** Seconds. The largest is twice the default first-byte time-out. */
const ttfbBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const upstreamType = closedList([...upstreamTypes, "other"], "other");
const upstreamReason = closedList(upstreamReasons, "other");

export interface UpstreamMetrics {
  readonly onNotice: NoticeSink;
  /**
   * From now on these upstreams are configured. The counters of one that no longer is stay; the gauges go, since nothing
   * would change them any more.
   */
  use(upstreams: readonly string[]): void;
}

/** Registers the metrics for the configured upstreams; any other name counts as `other`. */
export function createUpstreamMetrics(
  registry: Registry,
  upstreams: readonly string[],
  now: () => number = Date.now,
): UpstreamMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: "entrepot_upstream_requests_total",
    help: "Answers from upstream by kind of request and status.",
    labelNames: ["upstream", "type", "code"],
    registers,
  });
  const received = new Counter({
    name: "entrepot_upstream_received_bytes_total",
    help: "Body bytes received from upstream.",
    labelNames: ["upstream", "type"],
    registers,
  });
  const errors = new Counter({
    name: "entrepot_upstream_errors_total",
    help: "Requests upstream failed to answer, or answered with what cannot be used.",
    labelNames: ["upstream", "reason"],
    registers,
  });
  const ttfb = new Histogram({
    name: "entrepot_upstream_ttfb_seconds",
    help: "Time from a request to upstream until the headers of its answer.",
    labelNames: ["upstream", "type"],
    buckets: ttfbBuckets,
    registers,
  });
  const circuit = new Gauge({
    name: "entrepot_upstream_circuit_state",
    help: "1 for the state an upstream's circuit is in; open: it does not answer and is not asked.",
    labelNames: ["upstream", "state"],
    registers,
  });
  const showCircuit = (upstream: string, current: string): void => {
    for (const state of circuitStates) circuit.set({ upstream, state }, state === current ? 1 : 0);
  };
  const remaining = new Gauge({
    name: "entrepot_upstream_rate_limit_remaining",
    help: "Requests upstream still allows, as its last answer said; absent while it says nothing.",
    labelNames: ["upstream"],
    registers,
  });
  const segments = new Gauge({
    name: "entrepot_upstream_segments",
    help: "Transfers at once that a large blob comes in, as far as is known; 1: several are not needed, or no help.",
    labelNames: ["upstream"],
    registers,
  });
  const lastSuccess = new Gauge({
    name: "entrepot_upstream_last_success_timestamp_seconds",
    help: "When upstream last answered what it was asked for, in Unix time; 0: not since the start.",
    labelNames: ["upstream"],
    registers,
  });
  const refreshes = new Counter({
    name: "entrepot_tag_refreshes_total",
    help: "Confirmations of tags that no client waited for: ahead, before the tag expired; stale, behind an answer with an expired one.",
    labelNames: ["upstream", "when", "result"],
    registers,
  });
  const moves = new Counter({
    name: "entrepot_tag_moves_total",
    help: "Tags pulled through here that upstream says name another digest than before.",
    labelNames: ["upstream"],
    registers,
  });
  const begin = (upstream: string): void => {
    moves.inc({ upstream }, 0);
    for (const when of tagRefreshOccasions)
      for (const result of tagRefreshResults) refreshes.inc({ upstream, when, result }, 0);
    lastSuccess.set({ upstream }, 0);
    segments.set({ upstream }, 1);
    showCircuit(upstream, "closed");
    for (const reason of upstreamReasons) errors.inc({ upstream, reason }, 0);
    for (const type of upstreamTypes) {
      for (const code of startCodes) requests.inc({ upstream, type, code }, 0);
      received.inc({ upstream, type }, 0);
      ttfb.zero({ upstream, type });
    }
  };
  const end = (upstream: string): void => {
    for (const gauge of [lastSuccess, segments, remaining]) gauge.remove({ upstream });
    for (const state of circuitStates) circuit.remove({ upstream, state });
  };
  let configured: ReadonlySet<string> = new Set();
  let upstreamLabel = closedList<string>([], "other");
  const use = (names: readonly string[]): void => {
    const before = configured;
    configured = new Set(names);
    for (const name of configured) if (!before.has(name)) begin(name);
    for (const name of before) if (!configured.has(name)) end(name);
    upstreamLabel = closedList(names, "other");
  };
  use(upstreams);
  const onNotice: NoticeSink = (notice) => {
    if (notice.kind === "upstream_request") {
      const upstream = upstreamLabel(notice.upstream);
      const type = upstreamType(notice.type);
      requests.inc({ upstream, type, code: codeLabel(notice.status) });
      ttfb.observe({ upstream, type }, amount(notice.ttfbMs) / 1000);
      if (isSuccess(notice) && configured.has(upstream))
        lastSuccess.set({ upstream }, Math.floor(now() / 1000));
    } else if (notice.kind === "upstream_bytes") {
      received.inc(
        { upstream: upstreamLabel(notice.upstream), type: upstreamType(notice.type) },
        amount(notice.bytes),
      );
    } else if (notice.kind === "tag_refresh") {
      refreshes.inc({
        upstream: upstreamLabel(notice.upstream),
        when: notice.when,
        result: notice.result,
      });
    } else if (notice.kind === "tag_moved") {
      moves.inc({ upstream: upstreamLabel(notice.upstream) });
    } else if (notice.kind === "upstream_error") {
      errors.inc({ upstream: upstreamLabel(notice.upstream), reason: upstreamReason(notice.code) });
    } else if ("upstream" in notice && configured.has(notice.upstream)) {
      const { upstream } = notice;
      if (notice.kind === "circuit") showCircuit(upstream, notice.state);
      else if (notice.kind === "rate_limit") remaining.set({ upstream }, amount(notice.remaining));
      else if (notice.kind === "segments") segments.set({ upstream }, amount(notice.width));
    }
  };
  return { onNotice, use };
}

/** 404 is an answer like any other. A token server that answers is no sign of life of the registry. */
function isSuccess({ type, status }: Notice & { kind: "upstream_request" }): boolean {
  return type !== "token" && ((status >= 200 && status < 400) || status === 404);
}
