// The stats page put together: recent activity with its history, the document, and what explains an image.

import type { Access } from "../cache/access.ts";
import type { BlobCache } from "../cache/blob-cache.ts";
import type { Freshness } from "../cache/freshness.ts";
import type { LocalBlobs } from "../cache/local-blobs.ts";
import type { Config } from "../config/config.ts";
import type { Digest } from "../oci/digest.ts";
import { type Api, createApi } from "../ops/api/api.ts";
import { tagReport, tagStays } from "../ops/history/tag-stays.ts";
import { Datacenter } from "../ops/stats/datacenter.ts";
import { inS3 } from "../ops/stats/elsewhere.ts";
import { createExplain } from "../ops/stats/explain.ts";
import { createHistory, historyInterval } from "../ops/stats/history.ts";
import { parseImageReference } from "../ops/stats/image-reference.ts";
import { ReadinessCheck, usualDays } from "../ops/stats/readiness.ts";
import type { ReportedImages } from "../ops/stats/reported-images.ts";
import { savingsOfAll } from "../ops/stats/savings-nodes.ts";
import { createStats, type StatsOptions } from "../ops/stats/stats.ts";
import type { QueueStats, Readiness } from "../ops/stats/stats-document.ts";
import { createStatsPages, type StatsPages, type StatsPagesOptions } from "../ops/stats/stats-pages.ts";
import type { NodeSummary } from "../ports/datacenter/nodes.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { TagStore } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import { Layout } from "../storage/disk/layout.ts";
import type { DiskStore } from "../storage/disk/store.ts";
import type { SqliteIndex } from "../storage/index/sqlite-index.ts";
import type { Notifications } from "../telemetry/notifications/notifications.ts";
import type { Blocks } from "./images/blocks.ts";
import { referenceNames } from "./images/reference-names.ts";
import type { Savings } from "./savings.ts";
import type { SharedParts } from "./sharing.ts";

/** Milliseconds from the start to the first look at the readiness of images, and between two. */
const firstLook = 60_000;
const lookInterval = 1_800_000;
/** Milliseconds in which S3 is asked about one image, and about those pulled lately: `why` waits 15 s, `readiness` 5 minutes. */
const explainPatience = 4_000;
const readinessPatience = 240_000;

export interface StatsPageOptions
  extends Omit<
    StatsOptions,
    "config" | "running" | "services" | "queues" | "datacenter" | "savings" | "blocked"
  > {
  /** Of now, as are the rules made of it. */
  readonly config: () => Config;
  readonly freshness: () => Freshness;
  readonly store: DiskStore;
  readonly index: SqliteIndex;
  readonly running: () => ReturnType<StatsOptions["running"]> & {
    readonly blobs?: Pick<BlobCache, "fills" | "fillings">;
    readonly shared?: Pick<SharedParts, "tags" | "sharing" | "otherNodes" | "pendingUploads">;
    readonly access?: Pick<Access, "linked">;
    readonly local?: Pick<LocalBlobs, "inMemory">;
  };
  readonly notifications: Pick<Notifications, "pending">;
  readonly jobs: StatsPagesOptions["jobs"];
  readonly savings: Savings;
  readonly blocks: Pick<Blocks, "told" | "refused">;
  readonly notices: NoticeSink;
}

export interface StatsPage {
  readonly pages: StatsPages;
  /** What was last found of the images of the last days, for metrics; see ReadinessCheck.last. */
  readonly readiness: () => Readiness | undefined;
  /** What other nodes are told of images pulled through this one. Rejects with StoreError. */
  readonly reported: ReportedImages["page"];
  readonly api: Api;
  readonly datacenter: Datacenter;
  /** What this node says of itself now. Throws StoreError when the index cannot be read. */
  node(): NodeSummary;
  /** Ends the streams, writes the history and stops measuring. The index must still be open. */
  close(): Promise<void>;
}

/** Loads the history of the last run. Throws the system's error when the page's files are not there. */
export async function openStatsPage(options: StatsPageOptions): Promise<StatsPage> {
  const { config, freshness, store, index, running, clock, steady } = options;
  const history = createHistory(new Layout(config().cache.dir).history, options.activity, options.notices);
  const tags: Pick<TagStore, "get"> = {
    get: (...tag) => (running().shared?.tags ?? index.tags).get(...tag),
  };
  const mayRead = (scope: Scope, digest: Digest) =>
    running().access?.linked(scope, digest) ?? index.links.has(scope, digest);
  const s3 = () => running().shared?.sharing.blobs?.store;
  const datacenter = new Datacenter(clock, options.steady);
  const neighbours = () => ({
    nodes: running().shared?.otherNodes,
    list: () => datacenter.neighbours(),
  });
  const seen = { name: options.name, history: index.history, neighbours };
  const explain = createExplain({
    names: () => referenceNames(config()),
    tags,
    freshness,
    index: index.blobs,
    links: index.links,
    graph: index.graph,
    store,
    inMemory: (digest) => running().local?.inMemory(digest) ?? false,
    mayRead,
    fetchRate: (upstream) => options.activity.fetchRate(upstream),
    siblings: (upstream) => running().shared?.sharing.siblings?.toAsk(upstream, true) ?? [],
    coming: (digest) => running().blobs?.fills.some((fill) => fill.digest === digest) ?? false,
    elsewhere: () => inS3(s3(), explainPatience, steady),
    neighbours,
    stays: (scope, tag) => tagStays(seen, scope, tag),
    clock,
    mirrorUrl: options.mirrorUrl,
    refused: (digest) => options.blocks.refused(digest),
  });
  const readiness = new ReadinessCheck({
    graph: index.graph,
    index: index.blobs,
    store,
    elsewhere: () => inS3(s3(), readinessPatience, steady),
    tags,
    linked: mayRead,
    passesThrough: (name) =>
      config().upstreams.some((upstream) => upstream.name === name && upstream.access === "passthrough"),
    freshness,
    clock,
    neighbours,
    partial: () => index.graph.unreadAfter() !== undefined,
  });
  const shared = (["redis", "s3"] as const).filter((name) => config()[name] !== undefined);
  const stats = createStats({
    ...options,
    datacenter,
    services: shared,
    queues: () => queuesOf(options),
    savings: () => options.savings.document(),
    blocked: () => options.blocks.told(),
  });
  const savings = (month?: string) =>
    savingsOfAll(
      {
        name: options.name,
        month: () => options.savings.ledger.month,
        own: (month) => options.savings.told(month),
        neighbours,
        clock,
      },
      month,
    );
  const document = () => stats.document();
  const node = () => stats.summary();
  const pages = createStatsPages({
    document,
    explain,
    savings,
    jobs: options.jobs,
  });
  const { version } = options;
  const api = createApi({
    version,
    node,
    datacenter: () => stats.datacenter(),
    stats: document,
    explain,
    readiness: (days) => readiness.run(days),
    savings,
    tagReport: (reference) =>
      tagReport(
        { ...seen, parse: (text) => parseImageReference(text, referenceNames(config())), clock },
        reference,
      ),
  });
  await history.load();
  const timer = setInterval(() => void history.save(), historyInterval).unref();
  const look = (): void => {
    readiness
      .run(usualDays, "node")
      .catch((error: unknown) => options.notices(noticeOfStoreError("readiness", error)));
  };
  const looks = [setTimeout(look, firstLook).unref(), setInterval(look, lookInterval).unref()];
  return {
    pages,
    readiness: () => readiness.last,
    reported: (since, after) => readiness.reported.page(since, after),
    api,
    datacenter,
    node,
    async close() {
      for (const each of [timer, ...looks]) clearInterval(each);
      pages.end();
      stats.close();
      await history.save();
    },
  };
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
