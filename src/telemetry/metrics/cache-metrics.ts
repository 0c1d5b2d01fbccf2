// Metrics of the store and of the fills that feed it, from the notices about them.
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { storeErrorCodes } from "../../ports/blobs.ts";
import { bitRotFinders, type Notice, type NoticeSink, prefetchResults } from "../../ports/event.ts";
import { amount, closedList } from "./label.ts";

const storeCodes = [...storeErrorCodes, "other"] as const;

/** What was tried of a store: the verbs of the blob store, and one word for each other store (`tags.get`: tags). */
export const storeOps = [
  "open",
  "read",
  "check",
  "quarantine",
  "repair",
  "sweep",
  "answers",
  "create",
  "keep",
  "resume",
  "append",
  "commit",
  "abort",
  "release",
  "delete",
  "list",
  "evict",
  "manifest",
  "put_manifest",
  "index",
  "tags",
  "links",
  "graph",
  "readiness",
  "savings",
  "superseded",
  "history",
  "purge",
  "block",
  "pins",
  "publish",
  "peer",
  "redis",
  "s3",
  "other",
] as const;

const fillResults = ["committed", "discarded", "not_stored", "resumable"] as const;
const evictionReasons = ["lru", "low_disk", "corrupt"] as const;

const hour = 3600;
const day = 24 * hour;
/** Seconds since last use. A median under a day means that the cache is too small for its clients. */
const ageBuckets = [60, 600, hour, 6 * hour, day, 3 * day, 7 * day, 14 * day, 30 * day, 90 * day];

const storeOp = closedList(storeOps, "other");
const storeCode = closedList(storeCodes, "other");
const fillResult = closedList([...fillResults, "other"], "other");
const evictionReason = closedList([...evictionReasons, "other"], "other");

/** Registers the metrics of fills, evictions and store failures and returns their sink. */
export function createCacheMetrics(registry: Registry): NoticeSink {
  const fill = createFillMetrics(registry);
  const prefetch = createPrefetchMetrics(registry);
  const eviction = createEvictionMetrics(registry);
  const storeErrors = new Counter({
    name: "entrepot_store_errors_total",
    help: "Failures of a store; its requests are served from upstream.",
    labelNames: ["op", "code"],
    registers: [registry],
  });
  for (const op of storeOps) for (const code of storeCodes) storeErrors.inc({ op, code }, 0);
  const checks = createCheckMetrics(registry);
  const wrongRanges = new Counter({
    name: "entrepot_wrong_range_answers_total",
    help: "Answers with a part of a blob that was not verified yet, and whose digest then was wrong.",
    registers: [registry],
  });
  const staleServed = new Counter({
    name: "entrepot_stale_served_total",
    help: "Tags answered from an expired record because upstream failed.",
    registers: [registry],
  });
  const indexLost = new Counter({
    name: "entrepot_index_lost_total",
    help: "Indexes that could not be read at the start; replaced by a copy, or put together anew from the store.",
    labelNames: ["replaced_by"],
    registers: [registry],
  });
  for (const replaced_by of ["copy", "store"]) indexLost.inc({ replaced_by }, 0);
  const storeUp = new Gauge({
    name: "entrepot_store_up",
    help: "Whether the cache directory can be used: 1 or 0. Without it everything comes from upstream.",
    registers: [registry],
  });
  storeUp.set(1);
  // A store that is not configured has no notices, so it gets no series.
  const sharedUp = new Gauge({
    name: "entrepot_shared_store_up",
    help: "Whether what the nodes share can be used: 1 or 0. A node goes on alone without it.",
    labelNames: ["store"],
    registers: [registry],
  });
  return (notice) => {
    if (notice.kind === "fill") fill(notice);
    else if (notice.kind === "prefetch") prefetch(notice);
    else if (notice.kind === "eviction" || notice.kind === "shared_eviction") eviction(notice);
    else if (notice.kind === "store_error")
      storeErrors.inc({ op: storeOp(notice.op.split(".", 1)[0] ?? ""), code: storeCode(notice.code) });
    else if (notice.kind === "blob_check" || notice.kind === "bit_rot" || notice.kind === "bit_rot_alarm")
      checks(notice);
    else if (notice.kind === "store") storeUp.set(notice.usable ? 1 : 0);
    else if (notice.kind === "wrong_range") wrongRanges.inc(amount(notice.answers));
    else if (notice.kind === "stale_served") staleServed.inc();
    else if (notice.kind === "index_lost")
      indexLost.inc({ replaced_by: notice.copiedAt === undefined ? "store" : "copy" });
    else if (notice.kind === "shared_store") sharedUp.set({ store: notice.store }, notice.usable ? 1 : 0);
  };
}

function createFillMetrics(registry: Registry): (notice: Notice & { kind: "fill" }) => void {
  const fills = new Counter({
    name: "entrepot_fills_total",
    help: "Finished downloads of a blob; discarded: wrong or incomplete, not_stored: served but not kept, resumable: ended for want of clients, and kept for an hour.",
    labelNames: ["result"],
    registers: [registry],
  });
  for (const result of fillResults) fills.inc({ result }, 0);
  const bytes = new Counter({
    name: "entrepot_fill_bytes_total",
    help: "Bytes downloaded by finished fills, whatever became of them.",
    registers: [registry],
  });
  const background = new Counter({
    name: "entrepot_background_fill_bytes_total",
    help: "Of the bytes of finished fills, those that came when the last client had left.",
    labelNames: ["result"],
    registers: [registry],
  });
  for (const result of fillResults) background.inc({ result }, 0);
  return (notice) => {
    const result = fillResult(notice.result);
    fills.inc({ result });
    bytes.inc(amount(notice.bytes));
    background.inc({ result }, amount(notice.unattendedBytes ?? 0));
  };
}

function createPrefetchMetrics(registry: Registry): (notice: Notice & { kind: "prefetch" }) => void {
  const registers = [registry];
  const layers = new Counter({
    name: "entrepot_prefetched_layers_total",
    help: "Layers fetched before the client that pulled their image asked for them; unused: nobody has asked within ten minutes, or they were given up.",
    labelNames: ["result"],
    registers,
  });
  const bytes = new Counter({
    name: "entrepot_prefetched_bytes_total",
    help: "Bytes of these layers.",
    labelNames: ["result"],
    registers,
  });
  for (const result of prefetchResults) {
    layers.inc({ result }, 0);
    bytes.inc({ result }, 0);
  }
  return ({ result, bytes: size }) => {
    layers.inc({ result });
    bytes.inc({ result }, amount(size));
  };
}

type CheckNotice = Extract<Notice, { kind: "blob_check" | "bit_rot" | "bit_rot_alarm" }>;

function createCheckMetrics(registry: Registry): (notice: CheckNotice) => void {
  const registers = [registry];
  const checks = new Counter({
    name: "entrepot_blob_checks_total",
    help: "Stored blobs hashed again, by the scrubber or because a client or an upload wanted them.",
    labelNames: ["by", "result"],
    registers,
  });
  const bytes = new Counter({
    name: "entrepot_blob_check_bytes_total",
    help: "Bytes of stored blobs hashed again.",
    labelNames: ["by"],
    registers,
  });
  const rot = new Counter({
    name: "entrepot_bit_rot_total",
    help: "Stored blobs that were not what their digest says, by who met them.",
    labelNames: ["by"],
    registers,
  });
  const alarm = new Gauge({
    name: "entrepot_bit_rot_alarm",
    help: "1 while so much reads wrong in a row that the disk or the memory must be at fault.",
    registers,
  });
  for (const by of bitRotFinders) {
    for (const result of ["sound", "wrong"]) checks.inc({ by, result }, 0);
    bytes.inc({ by }, 0);
    rot.inc({ by }, 0);
  }
  return (notice) => {
    if (notice.kind === "bit_rot_alarm") alarm.set(notice.raised ? 1 : 0);
    else if (notice.kind === "bit_rot") rot.inc({ by: notice.by });
    else {
      checks.inc({ by: notice.by, result: notice.result });
      bytes.inc({ by: notice.by }, amount(notice.bytes));
    }
  };
}

function createEvictionMetrics(
  registry: Registry,
): (notice: Notice & { kind: "eviction" | "shared_eviction" }) => void {
  const registers = [registry];
  const evictions = new Counter({
    name: "entrepot_cache_evictions_total",
    help: "Blobs removed from the store.",
    labelNames: ["store", "reason"],
    registers,
  });
  for (const reason of evictionReasons) evictions.inc({ store: "disk", reason }, 0);
  const bytes = new Counter({
    name: "entrepot_cache_evicted_bytes_total",
    help: "Bytes of the blobs removed from the store.",
    labelNames: ["store"],
    registers,
  });
  bytes.inc({ store: "disk" }, 0);
  const age = new Histogram({
    name: "entrepot_cache_eviction_age_seconds",
    help: "How long ago an evicted blob was last used.",
    labelNames: ["store"],
    buckets: ageBuckets,
    registers,
  });
  age.zero({ store: "disk" });
  const orphaned = new Counter({
    name: "entrepot_evicted_orphaned_images_total",
    help: "Manifests still in the store that named a blob at its eviction.",
    registers,
  });
  return (notice) => {
    if (notice.kind === "shared_eviction") {
      evictions.inc({ store: notice.store, reason: "lru" }, amount(notice.deleted));
      bytes.inc({ store: notice.store }, amount(notice.freed));
      return;
    }
    const store = "disk";
    evictions.inc({ store, reason: evictionReason(notice.reason) });
    bytes.inc({ store }, amount(notice.bytes));
    age.observe({ store }, amount(notice.ageMs) / 1000);
    orphaned.inc(amount(notice.orphaned));
  };
}
