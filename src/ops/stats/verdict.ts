// One word on the state of this node, and the reasons: what a person on call reads first.

import type { DrillRecord } from "../../ports/datacenter/drill.ts";
import { count, duration, share, size } from "../page/format.ts";
import type { JudgedStats, Level, ScrubStats, UpstreamStats, Verdict } from "./stats-document.ts";

interface Finding {
  readonly level: Exclude<Level, "ok">;
  readonly reason: string;
}

/** Milliseconds for which a failure of an upstream that nobody asks any more is a finding. */
const lately = 5 * 60_000;
/** Failed answers are a finding above this share, when there were enough answers. */
const failedShare = 0.01;
const enoughAnswers = 50;
/** Milliseconds for which a changed blob is a finding. */
const recentRot = 3_600_000;
const dayMs = 86_400_000;
/** 99 of 100 timers came within this many milliseconds. */
const lateLoop = 250;

/** `unready`: the lines of the required checks that fail. */
export function verdictOf(document: JudgedStats, unready: readonly string[]): Verdict {
  const { node, upstreams, services } = document;
  const findings: Finding[] = [
    ...unready.map((line): Finding => ({ level: "down", reason: `not ready: ${line}` })),
    ...(node.draining ? [degraded("draining: no new requests are taken")] : []),
    ...(document.drill === null ? [] : [degraded(drillText(document.drill, document.at))]),
    ...upstreams.flatMap((upstream) => upstreamFindings(upstream, document.at)),
    ...trafficFindings(document),
    ...storeFindings(document),
    ...services.filter(({ ok }) => !ok).map(({ name, detail }) => degraded(`${name}: ${detail}`)),
    ...loopFindings(document),
  ];
  const reasons = findings
    .sort((a, b) => Number(b.level === "down") - Number(a.level === "down"))
    .map(({ reason }) => reason);
  const worst = findings.some(({ level }) => level === "down") ? "down" : "degraded";
  return { level: reasons.length === 0 ? "ok" : worst, reasons };
}

/** Clients that are named. */
const maxNamed = 3;

function drillText({ clients, endsAt, node }: DrillRecord, now: number): string {
  const more = clients.length > maxNamed ? ` and ${clients.length - maxNamed} more` : "";
  return `a drill is on for ${clients.slice(0, maxNamed).join(", ")}${more}: for them every upstream counts as away, for ${duration(endsAt - now)} more (asked for on ${node})`;
}

function degraded(reason: string): Finding {
  return { level: "degraded", reason };
}

function upstreamFindings(upstream: UpstreamStats, now: number): Finding[] {
  const { name, circuit, outage, lastSuccessAt, lastError, offline } = upstream;
  if (offline) return [];
  const last =
    lastSuccessAt === null
      ? "no success since the start"
      : `last success ${duration(now - lastSuccessAt)} ago`;
  if (circuit !== "closed") {
    const since = outage === null ? "" : ` for ${duration(now - outage.since)}`;
    return [degraded(`upstream ${name} has not been answering${since} (${last}); what is cached is served`)];
  }
  if (lastError === null || outage === null) return [];
  if (lastError.code === "no_registry") return [degraded(`${lastError.message} (${last})`)];
  if (lastError.code === "auth")
    return [degraded(`upstream ${name} refuses this mirror's account (${last})`)];
  if (Math.abs(now - lastError.at) > lately) return [];
  return [degraded(`upstream ${name} fails: ${lastError.code} (${last})`)];
}

function trafficFindings({ traffic, upstreams }: JudgedStats): Finding[] {
  const { requests, failed, results, brokenFills } = traffic.windows["5m"];
  const findings: Finding[] = [];
  // Of an upstream that is not asked everything old is stale, and that is no trouble; where one that is asked has failed, it is.
  const isOfOffline =
    upstreams.some(({ offline }) => offline) &&
    upstreams.every(({ offline, errors }) => offline || errors === 0);
  if (results.stale > 0 && !isOfOffline)
    findings.push(degraded(`${count(results.stale, "tag")} served stale in 5 min`));
  if (brokenFills > 0)
    findings.push(
      degraded(
        `${count(brokenFills, "download")} with wrong or missing bytes in 5 min; nothing of it was kept`,
      ),
    );
  if (requests >= enoughAnswers && failed / requests > failedShare)
    findings.push(degraded(`${share(failed / requests)} of the answers failed in 5 min`));
  return findings;
}

function storeFindings({ store, traffic, at }: JudgedStats): Finding[] {
  const findings: Finding[] = [];
  const { storeErrors } = traffic.windows["5m"];
  if (storeErrors > 0) {
    const last =
      store.lastStoreError === null
        ? ""
        : `, the last: ${store.lastStoreError.op} ${store.lastStoreError.code}`;
    findings.push(degraded(`${count(storeErrors, "store error")} in 5 min${last}`));
  }
  findings.push(...scrubFindings(store.scrub, at));
  const { diskFreeBytes, diskReserveBytes } = store;
  // Eviction works in steps: a little under the reserve is its normal life.
  if (diskFreeBytes !== null && diskReserveBytes !== null && diskFreeBytes < diskReserveBytes * 0.9)
    findings.push(degraded(`the disk has only ${size(diskFreeBytes)} free`));
  return findings;
}

function scrubFindings(
  { alarm, wrongBlobs, lastWrongAt, intervalMs, oldestCheckAt }: ScrubStats,
  now: number,
) {
  if (alarm)
    return [
      degraded(
        "so much of what is stored reads wrong that the disk or the memory must be at fault: nothing more is taken out, and what is wrong comes from upstream",
      ),
    ];
  const findings: Finding[] = [];
  if (lastWrongAt !== null && now - lastWrongAt < recentRot)
    findings.push(
      degraded(
        `${count(wrongBlobs, "stored blob")} had changed on the disk, the last ${duration(now - lastWrongAt)} ago; none is served`,
      ),
    );
  if (intervalMs !== null && oldestCheckAt !== null && oldestCheckAt > 0) {
    const behind = now - oldestCheckAt - intervalMs;
    if (behind > Math.max(intervalMs, dayMs))
      findings.push(
        degraded(
          `what is stored was to be hashed again ${duration(behind)} ago: cache.scrub is too short for this disk`,
        ),
      );
  }
  return findings;
}

function loopFindings({ runtime: { eventLoopP99Ms } }: JudgedStats): Finding[] {
  return eventLoopP99Ms !== null && eventLoopP99Ms > lateLoop
    ? [degraded(`this node is overloaded: timers come ${Math.round(eventLoopP99Ms)} ms late`)]
    : [];
}
