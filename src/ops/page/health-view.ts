// The state of this node, of its upstreams, and of the services and queues it depends on.
import type {
  QueueStats,
  ServiceStats,
  SiblingStats,
  StatsDocument,
  UpstreamStats,
} from "../stats/stats-document.ts";
import { count, duration, number, size } from "./format.ts";
import { type Content, h, type PageNode } from "./html.ts";
import { ago, fact, facts, section, state, table } from "./parts.ts";

const words = { ok: "All is well", degraded: "Degraded", down: "Down" } as const;
const levels = { ok: "ok", degraded: "warn", down: "bad" } as const;

export function verdictView({ verdict, node, at }: StatsDocument): PageNode {
  return h(
    "section",
    { id: "verdict", class: levels[verdict.level], role: "status", "aria-label": "Verdict" },
    h("h2", {}, state(levels[verdict.level], words[verdict.level])),
    verdict.reasons.length > 0 &&
      h(
        "ul",
        {},
        verdict.reasons.map((reason) => h("li", {}, reason)),
      ),
    h(
      "p",
      { class: "note" },
      `entrepot ${node.version}, up ${duration(at - node.startedAt)}, as of `,
      h("time", { datetime: new Date(at).toISOString() }, `${new Date(at).toISOString().slice(11, 19)} UTC`),
    ),
  );
}

export function upstreamsView({ upstreams, siblings, at }: StatsDocument): PageNode {
  const columns = [
    { name: "Upstream" },
    { name: "State" },
    { name: "Last success" },
    { name: "First byte p50", number: true as const },
    { name: "p95", number: true as const },
    { name: "Requests, 1 h", number: true as const },
    { name: "Errors, 1 h", number: true as const },
    { name: "429s", number: true as const },
    { name: "Connections", number: true as const },
  ];
  const rows = upstreams.map((upstream) => [
    h("b", {}, upstream.name),
    upstreamState(upstream),
    {
      shown: ago(upstream.lastSuccessAt, at),
      by: upstream.lastSuccessAt === null ? null : at - upstream.lastSuccessAt,
    },
    { shown: milliseconds(upstream.ttfbP50Ms), by: upstream.ttfbP50Ms },
    { shown: milliseconds(upstream.ttfbP95Ms), by: upstream.ttfbP95Ms },
    number(upstream.requests),
    number(upstream.errors),
    number(upstream.limited),
    `${upstream.activeConnections} of ${upstream.maxConnections}`,
  ]);
  return section(
    "upstreams",
    "Upstreams",
    table("Upstreams", columns, rows, "No upstream is configured."),
    upstreams.map((upstream) => troubles(upstream, at)),
    siblings.length > 0 && siblingsView(siblings, at),
  );
}

/** In place of "failing", where the code of the last error says more. */
const failing: Readonly<Record<string, string>> = {
  auth: "refuses our account",
  no_registry: "no registry there",
};

function upstreamState(upstream: UpstreamStats): PageNode {
  const { circuit, errors, lastError, outage, lastSuccessAt, offline } = upstream;
  if (offline) return state("idle", "offline, not asked");
  if (circuit !== "closed") return state("bad", "not answering");
  if (outage !== null) return state("bad", failing[lastError?.code ?? ""] ?? "failing");
  if (lastSuccessAt === null) return state("idle", "not asked yet");
  return state("ok", errors > 0 ? "answering again" : "answering");
}

function troubles(
  { name, circuit, errorCodes, lastError, outage, rateLimitRemaining }: UpstreamStats,
  now: number,
): Content {
  const codes = errorCodes.map(({ code, count }) => `${code} ${count}×`).join(", ");
  return [
    outage !== null &&
      h(
        "p",
        { class: "note" },
        `${name}: ${count(outage.attempts, "attempt")} without success in ${duration(now - outage.since)}, the last `,
        ago(outage.lastAttemptAt, now),
        circuit === "closed" ? "" : "; it is probed every few seconds",
        ".",
      ),
    lastError !== null &&
      h(
        "p",
        { class: "note" },
        `${name}: ${codes === "" ? "" : `${codes}; `}last error `,
        ago(lastError.at, now),
        `: ${lastError.message}`,
      ),
    rateLimitRemaining !== null &&
      h("p", { class: "note" }, `${name} allows ${count(rateLimitRemaining, "more request")}.`),
  ];
}

const siblingWords: Readonly<Record<SiblingStats["state"], Content>> = {
  asked: state("ok", "asked first"),
  away: state("warn", "not answering"),
  resting: state("warn", "failed just now"),
  slow: state("idle", "slower than upstream"),
  distrusted: state("bad", "sent wrong bytes"),
};

/** Mirrors of other datacenters, with what has come of asking them. */
function siblingsView(siblings: readonly SiblingStats[], now: number): Content {
  const columns = [
    { name: "Sibling" },
    { name: "State" },
    { name: "Rate", number: true as const },
    { name: "Had it", number: true as const },
    { name: "Had it not", number: true as const },
    { name: "Failed", number: true as const },
    { name: "Too slow", number: true as const },
    { name: "Wrong", number: true as const },
    { name: "Last had it" },
  ];
  const rows = siblings.map(({ name, state, bytesPerSecond, results, lastHitAt }) => [
    h("b", {}, name),
    siblingWords[state],
    { shown: bytesPerSecond === null ? "–" : `${size(bytesPerSecond)}/s`, by: bytesPerSecond },
    number(results.hit),
    number(results.miss),
    number(results.failed),
    number(results.slow),
    number(results.wrong),
    { shown: ago(lastHitAt, now), by: lastHitAt === null ? null : now - lastHitAt },
  ]);
  return [
    table("Siblings", columns, rows, ""),
    siblings.map(
      ({ name, lastError }) =>
        lastError !== null &&
        h("p", { class: "note" }, `${name}: last error `, ago(lastError.at, now), `: ${lastError.message}`),
    ),
  ];
}

function milliseconds(value: number | null): string {
  return value === null ? "–" : duration(value);
}

export function nodeView({ services, queues, runtime, traffic, node, at }: StatsDocument): PageNode {
  return section(
    "node",
    "This node",
    facts(
      fact(
        "Event loop, late by",
        milliseconds(runtime.eventLoopP50Ms),
        `p99 ${milliseconds(runtime.eventLoopP99Ms)}`,
      ),
      runtime.residentBytes !== null && fact("Memory", size(runtime.residentBytes), "resident"),
      fact("Heap", size(runtime.heapBytes), `and ${size(runtime.externalBytes)} of buffers`),
      fact("Requests under way", number(traffic.inFlight)),
      fact("Ready", node.ready ? "yes" : "no", `up ${duration(at - node.startedAt)}`),
    ),
    services.length > 0 && servicesView(services),
    queues.length > 0 && queuesView(queues),
  );
}

function servicesView(services: readonly ServiceStats[]): PageNode {
  const rows = services.map(({ name, ok, asked, detail }) => [
    h("b", {}, name),
    !ok ? state("warn", "failing") : asked ? state("ok", "in use") : state("idle", "not asked yet"),
    detail,
  ]);
  return table(
    "Services",
    [{ name: "Service" }, { name: "State" }, { name: "Detail", long: true }],
    rows,
    "",
  );
}

function queuesView(queues: readonly QueueStats[]): PageNode {
  const columns = [{ name: "Queue" }, { name: "Waiting", number: true as const }];
  return table(
    "Queues",
    columns,
    queues.map(({ name, length }) => [name, number(length)]),
    "",
  );
}
