// The store, and the downloads that feed it.
import type { RunningFill, ScrubStats, StatsDocument } from "../stats/stats-document.ts";
import { count, duration, number, rate, share, shortDigest, size } from "./format.ts";
import { h, type PageNode } from "./html.ts";
import { ago, bar, fact, facts, section, state } from "./parts.ts";

/** Blobs that are evicted sooner than this after their last use may be wanted again. */
const shortLife = 86_400_000;

export function storeView({ store, traffic, at }: StatsDocument): PageNode {
  const { usedBytes, limitBytes, boundBytes, boundBy, evictionMedianAgeMs, lastStoreError } = store;
  const used = boundBytes === 0 ? 1 : usedBytes / boundBytes;
  const day = traffic.windows["24h"];
  return section(
    "store",
    "Store",
    facts(
      fact("Used", size(usedBytes), `of ${size(boundBytes)}, ${share(Math.min(1, used))}`),
      boundBy === "disk" &&
        fact("Bound by", "the disk", `which is full before cache.maxSize, ${size(limitBytes)}`),
      fact("Objects", number(store.objects)),
      fact(
        "Full in",
        store.timeToFullMs === null ? "–" : duration(store.timeToFullMs),
        "at the pace of the last hour",
      ),
      fact(
        "Eviction age",
        evictionMedianAgeMs === null ? "–" : duration(evictionMedianAgeMs),
        day.evictions === 0
          ? "nothing evicted in 24 h"
          : `${number(day.evictions)} evicted in 24 h, ${size(day.evictedBytes)}`,
      ),
      store.diskFreeBytes !== null &&
        fact(
          "Disk free",
          size(store.diskFreeBytes),
          store.diskTotalBytes === null ? undefined : `of ${size(store.diskTotalBytes)}`,
        ),
      scrubFact(store.scrub, at),
      store.scrub.quarantinedBytes > 0 &&
        fact("Quarantine", size(store.scrub.quarantinedBytes), "changed blobs, kept for inspection"),
    ),
    bar("Store, used share", used),
    evictionMedianAgeMs !== null &&
      evictionMedianAgeMs < shortLife &&
      h(
        "p",
        {},
        state("warn", "What is evicted was used within the last day: a larger cache would save more."),
      ),
    lastStoreError !== null &&
      h(
        "p",
        { class: "note" },
        `Last store error `,
        ago(lastStoreError.at, at),
        `: ${lastStoreError.op} ${lastStoreError.code}: ${lastStoreError.message}`,
      ),
  );
}

function scrubFact(scrub: ScrubStats, now: number): PageNode {
  const { intervalMs, oldestCheckAt, checkedBlobs, checkedBytes, wrongBlobs, alarm } = scrub;
  const found = wrongBlobs === 0 ? "none wrong" : `${number(wrongBlobs)} wrong`;
  const done = `${number(checkedBlobs)} hashed since the start, ${size(checkedBytes)}, ${found}`;
  if (alarm) return fact("Hashed again", "disk or memory at fault", done);
  if (intervalMs === null) return fact("Hashed again", "never", "cache.scrub is 0");
  const oldest =
    oldestCheckAt === null
      ? "–"
      : oldestCheckAt === 0
        ? "not all yet"
        : `all within ${duration(now - oldestCheckAt)}`;
  return fact("Hashed again", oldest, done);
}

export function fillsView({ fills, at }: StatsDocument): PageNode {
  return section(
    "fills",
    "Downloads under way",
    fills.length === 0
      ? h("p", { class: "none" }, "None.")
      : h(
          "ul",
          { class: "fills" },
          fills.map((fill) => fillView(fill, at)),
        ),
  );
}

function fillView(fill: RunningFill, now: number): PageNode {
  const { repository, digest, upstream, receivedBytes, sizeBytes, followers } = fill;
  const { currentBytesPerSecond: current, bytesPerSecond, silentMs, leftMs } = fill;
  const of = sizeBytes === null ? "" : ` of ${size(sizeBytes)}`;
  return h(
    "li",
    {},
    h(
      "div",
      { class: "what" },
      h("b", {}, repository),
      " ",
      h("code", { title: digest }, shortDigest(digest)),
    ),
    bar(
      `Download of ${shortDigest(digest)}`,
      sizeBytes === null || sizeBytes === 0 ? null : receivedBytes / sizeBytes,
    ),
    h(
      "div",
      { class: "note" },
      current === 0
        ? [state("warn", `stalled for ${duration(silentMs)}`), " "]
        : `${rate(current ?? bytesPerSecond)} now, ${leftMs === null ? "" : `${duration(leftMs)} left, `}`,
      `${size(receivedBytes)}${of} from ${upstream} for ${duration(now - fill.startedAt)}, ${rate(bytesPerSecond)} on average, ${count(followers, "client")}`,
    ),
  );
}
