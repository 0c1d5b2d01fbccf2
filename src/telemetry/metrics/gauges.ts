// Values read at the moment of a scrape.
import { Gauge, type Registry } from "prom-client";
import { type StoreLabel, storeLabels } from "./label.ts";

/** Where the gauges read from. Synchronous and cheap; undefined (or a throw) leaves the sample out. */
export interface GaugeSources {
  fillsRunning(): number | undefined;
  /** Clients reading a running fill, the one that caused it included. */
  followers(): number | undefined;
  /** The three of a store that is not used: undefined. */
  cacheBytes(store: StoreLabel): number | undefined;
  cacheLimitBytes(store: StoreLabel): number | undefined;
  cacheObjects(store: StoreLabel): number | undefined;
  /** Bytes of fills under way and of what they left, in the spool directory. */
  spoolBytes(): number | undefined;
  /** Bytes of blobs that turned out wrong, kept for inspection. */
  quarantineBytes(): number | undefined;
  /**
   * Seconds since the longest unchecked blob was hashed; undefined without a scrubber, with nothing stored, and as
   * long as one never was.
   */
  oldestCheckAge(): number | undefined;
  /** Bytes free on the file system of the cache. */
  cacheDiskFreeBytes(): number | undefined;
  /** Inodes free there. */
  cacheDiskFreeInodes(): number | undefined;
  /** Blobs that wait to be uploaded to the shared store. */
  pendingUploads(): number | undefined;
  /** Images pulled in the last week, and those of them that could be pulled now without upstream; undefined until looked. */
  imagesPulled(): number | undefined;
  imagesReady(): number | undefined;
  /** Pinned images, and those of them that are here as a whole; undefined until looked. */
  pinnedImages(): number | undefined;
  pinnedImagesWhole(): number | undefined;
  /** Bytes held for them, be they here or to come, and that they may have. */
  pinnedBytes(): number | undefined;
  pinBudgetBytes(): number | undefined;
  /** Digests that are given to nobody. */
  blockedDigests(): number;
  httpInFlightRequests(): number | undefined;
  drillActive(): boolean;
  ready(): boolean;
  draining(): boolean;
  /** Whether the configuration in use is the one last read. */
  configLastReloadSuccessful(): boolean;
  /** When the configuration in use was read, in Unix time. */
  configLastReloadSuccess(): number;
  /** When the certificate of a listener ends, in Unix time; undefined for one that speaks plain HTTP. */
  certificateExpiry(listener: ListenerLabel): number | undefined;
}

/** Clients' listener, and that of health, metrics and the page. */
const listenerLabels = ["clients", "ops"] as const;
export type ListenerLabel = (typeof listenerLabels)[number];

type StoreSource = "cacheBytes" | "cacheLimitBytes" | "cacheObjects";
type PlainSource = Exclude<keyof GaugeSources, StoreSource | "certificateExpiry">;

const gauges: readonly { name: string; help: string; source: PlainSource }[] = [
  { name: "entrepot_fills_running", help: "Downloads from upstream under way.", source: "fillsRunning" },
  { name: "entrepot_followers", help: "Clients reading a download under way.", source: "followers" },
  {
    name: "entrepot_spool_bytes",
    help: "Bytes in the spool: downloads under way, and what they left.",
    source: "spoolBytes",
  },
  {
    name: "entrepot_quarantine_bytes",
    help: "Bytes of stored blobs that turned out wrong, kept for inspection; part of the cache's size.",
    source: "quarantineBytes",
  },
  {
    name: "entrepot_scrub_oldest_check_age_seconds",
    help: "How long ago the stored blob was hashed that was hashed the longest ago.",
    source: "oldestCheckAge",
  },
  {
    name: "entrepot_cache_disk_free_bytes",
    help: "Bytes free on the file system of the store.",
    source: "cacheDiskFreeBytes",
  },
  {
    name: "entrepot_cache_disk_free_inodes",
    help: "Inodes free on the file system of the store.",
    source: "cacheDiskFreeInodes",
  },
  {
    name: "entrepot_uploads_pending",
    help: "Blobs that wait to be uploaded to the shared store.",
    source: "pendingUploads",
  },
  {
    name: "entrepot_images_pulled",
    help: "Images pulled in the last week, as counted at most an hour ago.",
    source: "imagesPulled",
  },
  {
    name: "entrepot_images_ready",
    help: "Images pulled in the last week that could be pulled whole if their registries were gone.",
    source: "imagesReady",
  },
  {
    name: "entrepot_drill_active",
    help: "1 while a drill is on, in which every upstream counts as away for some clients.",
    source: "drillActive",
  },
  {
    name: "entrepot_blocked_digests",
    help: "Digests that are given to nobody, by command and by the file of this node.",
    source: "blockedDigests",
  },
  {
    name: "entrepot_pinned_images",
    help: "Pinned images, by command and by the configuration, with those over the budget.",
    source: "pinnedImages",
  },
  {
    name: "entrepot_pinned_images_whole",
    help: "Pinned images that are held and here as a whole.",
    source: "pinnedImagesWhole",
  },
  {
    name: "entrepot_pinned_bytes",
    help: "Bytes held for pinned images, here or still to come.",
    source: "pinnedBytes",
  },
  {
    name: "entrepot_pin_budget_bytes",
    help: "Bytes that pinned images may have.",
    source: "pinBudgetBytes",
  },
  {
    name: "entrepot_http_in_flight_requests",
    help: "Requests being answered.",
    source: "httpInFlightRequests",
  },
  { name: "entrepot_ready", help: "1 when this node takes requests.", source: "ready" },
  {
    name: "entrepot_draining",
    help: "1 when this node is finishing its last requests.",
    source: "draining",
  },
  {
    name: "entrepot_config_last_reload_successful",
    help: "1 when the configuration was last read without a problem, at the start or at SIGHUP.",
    source: "configLastReloadSuccessful",
  },
  {
    name: "entrepot_config_last_reload_success_timestamp_seconds",
    help: "When the configuration was last read without a problem, in Unix time.",
    source: "configLastReloadSuccess",
  },
];

const storeGauges: readonly { name: string; help: string; source: StoreSource }[] = [
  { name: "entrepot_cache_bytes", help: "Bytes in the store.", source: "cacheBytes" },
  { name: "entrepot_cache_limit_bytes", help: "Bytes the store may hold.", source: "cacheLimitBytes" },
  { name: "entrepot_cache_objects", help: "Blobs in the store.", source: "cacheObjects" },
];

/** Registers one gauge per source; those of a store have a series for each that is used. */
export function registerGauges(registry: Registry, sources: GaugeSources): void {
  for (const { name, help, source } of gauges) {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        const value = read(() => sources[source]());
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  }
  for (const { name, help, source } of storeGauges) {
    new Gauge({
      name,
      help,
      labelNames: ["store"],
      registers: [registry],
      collect() {
        for (const store of storeLabels) {
          const value = read(() => sources[source](store));
          if (value === undefined) this.remove({ store });
          else this.set({ store }, value);
        }
      },
    });
  }
  new Gauge({
    name: "entrepot_tls_certificate_expiry_timestamp_seconds",
    help: "When the certificate of a listener ends, in Unix time.",
    labelNames: ["listener"],
    registers: [registry],
    collect() {
      for (const listener of listenerLabels) {
        const value = read(() => sources.certificateExpiry(listener));
        if (value === undefined) this.remove({ listener });
        else this.set({ listener }, value);
      }
    },
  });
}

/** One broken source must not cost the whole scrape. */
function read(source: () => number | boolean | undefined): number | undefined {
  try {
    const value = Number(source());
    return Number.isFinite(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
