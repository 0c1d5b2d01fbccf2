// The stats page put together: recent activity with its history, the document, and what explains an image.

import type { BlobCache } from "../cache/blob-cache.ts";
import type { Freshness } from "../cache/freshness.ts";
import type { Config } from "../config/config.ts";
import type { Digest } from "../oci/digest.ts";
import { createExplain } from "../ops/stats/explain.ts";
import { createHistory, historyInterval } from "../ops/stats/history.ts";
import { createStats, type StatsOptions } from "../ops/stats/stats.ts";
import type { QueueStats } from "../ops/stats/stats-document.ts";
import { createStatsPages, type StatsPages } from "../ops/stats/stats-pages.ts";
import type { NoticeSink } from "../ports/event.ts";
import { Layout } from "../storage/disk/layout.ts";
import type { DiskStore } from "../storage/disk/store.ts";
import type { SqliteIndex } from "../storage/index/sqlite-index.ts";
import type { Notifications } from "../telemetry/notifications/notifications.ts";
import type { SharedParts } from "./sharing.ts";

export interface StatsPageOptions extends Omit<StatsOptions, "config" | "running" | "services" | "queues"> {
  /** Of now, as are the rules made of it. */
  readonly config: () => Config;
  readonly freshness: () => Freshness;
  readonly store: DiskStore;
  readonly index: SqliteIndex;
  readonly running: () => ReturnType<StatsOptions["running"]> & {
    readonly blobs?: Pick<BlobCache, "fills" | "fillings">;
    readonly shared?: Pick<SharedParts, "tags" | "sharing" | "pendingUploads">;
  };
  readonly notifications: Pick<Notifications, "pending">;
  readonly notices: NoticeSink;
}

export interface StatsPage {
  readonly pages: StatsPages;
  /** Ends the streams, writes the history and stops measuring. The index must still be open. */
  close(): Promise<void>;
}

/** Loads the history of the last run. Throws the system's error when the page's files are not there. */
export async function openStatsPage(options: StatsPageOptions): Promise<StatsPage> {
  const { config, freshness, store, index, running, clock } = options;
  const history = createHistory(new Layout(config().cache.dir).history, options.activity, options.notices);
  const explain = createExplain({
    upstreams: () => config().upstreams,
    tags: { get: (...tag) => (running().shared?.tags ?? index.tags).get(...tag) },
    freshness,
    index: index.blobs,
    links: index.links,
    store,
    coming: (digest) => running().blobs?.fills.some((fill) => fill.digest === digest) ?? false,
    elsewhere: (digest) => inS3(running().shared, digest),
    clock,
  });
  const shared = (["redis", "s3"] as const).filter((name) => config()[name] !== undefined);
  const stats = createStats({ ...options, services: shared, queues: () => queuesOf(options) });
  const pages = createStatsPages({ document: () => stats.document(), explain });
  await history.load();
  const timer = setInterval(() => void history.save(), historyInterval).unref();
  return {
    pages,
    async close() {
      clearInterval(timer);
      pages.end();
      stats.close();
      await history.save();
    },
  };
}

/** An S3 that fails says so itself. */
async function inS3(
  shared: Pick<SharedParts, "sharing"> | undefined,
  digest: Digest,
): Promise<readonly string[]> {
  const store = shared?.sharing.blobs?.store;
  const head = await store?.head(digest).catch(() => undefined);
  return store === undefined || head === undefined ? [] : [store.source];
}

function queuesOf({ config, running, notifications }: StatsPageOptions): QueueStats[] {
  const uploads = running().shared?.pendingUploads();
  return [
    ...(uploads === undefined ? [] : [{ name: "uploads to S3", length: uploads }]),
    ...(config().notifications?.endpoints ?? []).map(({ name }) => ({
      name: `notifications for ${name}`,
      length: notifications.pending(name) ?? 0,
    })),
  ];
}
