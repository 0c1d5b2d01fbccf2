// What this node says of itself to the others, and at /api/v1/node: what it is judged by, in a few KB.
import type { DrillRecord } from "../../ports/datacenter/drill.ts";
import type { NodeSummary, TrafficSums } from "../../ports/datacenter/nodes.ts";
import type { JudgedStats, Verdict } from "./stats-document.ts";

const maxReasons = 5;
const longestReason = 200;
const maxUpstreams = 16;

export function nodeSummary(
  { node, at, verdict, traffic, store, upstreams }: JudgedStats & { readonly verdict: Verdict },
  address: string | undefined,
  drill?: DrillRecord,
): NodeSummary {
  const { name, version, startedAt, ready, draining } = node;
  return {
    name,
    address: address ?? null,
    version,
    at,
    startedAt,
    state: draining ? "draining" : ready ? "up" : "not_ready",
    verdict: {
      level: verdict.level,
      reasons: verdict.reasons.slice(0, maxReasons).map((reason) => reason.slice(0, longestReason)),
    },
    inFlight: traffic.inFlight,
    lastHour: sumsOf(traffic.windows["1h"]),
    sinceStart: sumsOf(traffic.sinceStart),
    store: { usedBytes: store.usedBytes, limitBytes: store.limitBytes, objects: store.objects },
    upstreams: upstreams
      .slice(0, maxUpstreams)
      .map(({ name, circuit, lastSuccessAt }) => ({ name, circuit, lastSuccessAt })),
    drill: drill ?? null,
  };
}

function sumsOf({
  requests,
  failed,
  results,
  reads,
  hits,
  hitRatio,
  sentBytes,
  fetchedBytes,
}: TrafficSums): TrafficSums {
  return { requests, failed, results, reads, hits, hitRatio, sentBytes, fetchedBytes };
}
