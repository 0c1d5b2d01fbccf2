// The five counters of Distribution's pull-through cache under their own names, so that dashboards made for it go on
// working (distribution v3, registry/proxy/proxymetrics.go). Counted as they read, not as Distribution counts: failed
// misses are misses, a tag that upstream had to confirm is no hit, and bytes are those really sent, so HEAD has none
// and a range only its own.
import type { Registry } from "prom-client";
import type { EventSink, NoticeSink, RequestEvent, RouteKind } from "../../ports/event.ts";
import { amount } from "./label.ts";
import { SeriesCounter } from "./series-counter.ts";

const proxyTypes = ["blob", "manifest"] as const;
type ProxyType = (typeof proxyTypes)[number];

const typeOfRoute: Partial<Record<RouteKind, ProxyType>> = {
  blob: "blob",
  manifest_tag: "manifest",
  manifest_digest: "manifest",
};

/** Registers the counters and returns their two sinks. hits + misses = requests. */
export function createProxyMetrics(registry: Registry): { onEvent: EventSink; onNotice: NoticeSink } {
  const counter = (name: string, help: string) => {
    const made = new SeriesCounter({
      name: `registry_proxy_${name}_total`,
      help,
      labelNames: ["type"],
      registry,
    });
    for (const type of proxyTypes) made.add(0, type);
    return made;
  };
  const requests = counter("requests", "Reads of blobs and manifests.");
  const hits = counter("hits", "Reads answered from the cache without a word from upstream.");
  const misses = counter("misses", "Every other read, those that failed among them.");
  const pulled = counter("pulled_bytes", "Body bytes received from upstream.");
  const pushed = counter("pushed_bytes", "Body bytes sent to clients.");
  return {
    onEvent(event) {
      const type = typeOfRoute[event.route];
      if (type === undefined || (event.method !== "GET" && event.method !== "HEAD")) return;
      requests.add(1, type);
      (isHit(event) ? hits : misses).add(1, type);
      pushed.add(amount(event.bytesSent), type);
    },
    onNotice(notice) {
      if (notice.kind !== "upstream_bytes") return;
      if (notice.type === "blob" || notice.type === "manifest") pulled.add(amount(notice.bytes), notice.type);
    },
  };
}

/** A client that left says nothing about the cache: then it counts where the bytes came from. */
function isHit({ result, source }: RequestEvent): boolean {
  if (result === "aborted") return source === "memory" || source === "disk" || source === "s3";
  return result === "hit" || result === "stale";
}
