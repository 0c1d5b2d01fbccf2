// Values read at the moment of a scrape.
import { Gauge, type Registry } from "prom-client";

/** Where the gauges read from. Synchronous and cheap; undefined (or a throw) leaves the sample out. */
export interface GaugeSources {
  fillsRunning(): number | undefined;
  /** Clients reading a running fill, the one that caused it included. */
  followers(): number | undefined;
  cacheBytes(): number | undefined;
  cacheLimitBytes(): number | undefined;
  cacheObjects(): number | undefined;
  /** Bytes free on the file system of the cache. */
  cacheDiskFreeBytes(): number | undefined;
  /** Blobs that wait to be uploaded; undefined without S3. */
  uploadsPending(): number | undefined;
  httpInFlightRequests(): number | undefined;
  ready(): boolean;
  draining(): boolean;
}

const gauges: readonly { name: string; help: string; source: keyof GaugeSources }[] = [
  { name: "entrepot_fills_running", help: "Downloads from upstream under way.", source: "fillsRunning" },
  { name: "entrepot_followers", help: "Clients reading a download under way.", source: "followers" },
  { name: "entrepot_cache_bytes", help: "Bytes in the store.", source: "cacheBytes" },
  { name: "entrepot_cache_limit_bytes", help: "Bytes the store may hold.", source: "cacheLimitBytes" },
  { name: "entrepot_cache_objects", help: "Blobs in the store.", source: "cacheObjects" },
  {
    name: "entrepot_cache_disk_free_bytes",
    help: "Bytes free on the file system of the store.",
    source: "cacheDiskFreeBytes",
  },
  {
    name: "entrepot_uploads_pending",
    help: "Blobs that wait to be uploaded to what the nodes share.",
    source: "uploadsPending",
  },
  {
    name: "entrepot_http_in_flight_requests",
    help: "Requests being answered.",
    source: "httpInFlightRequests",
  },
  { name: "entrepot_ready", help: "1 when this node takes requests.", source: "ready" },
  { name: "entrepot_draining", help: "1 when this node is finishing its last requests.", source: "draining" },
];

/** Registers one gauge per source. */
export function registerGauges(registry: Registry, sources: GaugeSources): void {
  for (const { name, help, source } of gauges) {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        const value = read(sources, source);
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  }
}

/** One broken source must not cost the whole scrape. */
function read(sources: GaugeSources, source: keyof GaugeSources): number | undefined {
  try {
    const value = Number(sources[source]());
    return Number.isFinite(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
