// What /api/v1/stats answers, for programs: the OpenAPI document is made of it. Meanings stand in ops/stats/stats-document.ts.
import { z } from "zod";
import { siblingStates } from "../../ports/datacenter/sibling-verdict.ts";
import { circuitStates, results, siblingResults } from "../../ports/event.ts";
import { blockSchema } from "../block/block-schema.ts";
import { drillRecordSchema } from "../drill/drill-schema.ts";
import type { StatsDocument } from "../stats/stats-document.ts";
import { datacenterSchema } from "./datacenter-schema.ts";

const count = z.number().nonnegative();
const maybe = count.nullable();
const ratio = z.number().min(0).max(1).nullable();
const text = z.string();
const byResult = <T extends z.ZodType>(type: T) =>
  z.strictObject(
    Object.fromEntries(results.map((result) => [result, type])) as Record<(typeof results)[number], T>,
  );

const source = z.union([
  z.enum(["memory", "disk", "s3", "none"]),
  z.templateLiteral(["upstream:", z.string()]),
  z.templateLiteral(["sibling:", z.string()]),
]);

const window = z.strictObject({
  requests: count,
  failed: count,
  results: byResult(count),
  sentBytes: count,
  fetchedBytes: count,
  savedBytes: count,
  reads: count,
  hits: count,
  hitRatio: ratio,
  layerHitRatio: ratio,
  manifestHitRatio: ratio,
  byteHitRatio: ratio,
  storedBytes: count,
  evictions: count,
  evictedBytes: count,
  brokenFills: count,
  storeErrors: count,
});

/** What was saved, in a document. */
export const saved = {
  requests: count,
  roundTripsSaved: count,
  sentBytes: count,
  fetchedBytes: count,
  savedBytes: z.number(),
  moneySaved: z.number().nullable(),
};

const series = (length: number, stepMs: number) => {
  const column = z.array(count).length(length);
  return z.strictObject({
    startAt: count,
    stepMs: z.literal(stepMs),
    requests: column,
    failed: column,
    sentBytes: column,
    fetchedBytes: column,
    results: byResult(column),
  });
};

const upstream = z.strictObject({
  name: text,
  lastSuccessAt: maybe,
  circuit: z.enum(circuitStates),
  circuitSince: maybe,
  outage: z.strictObject({ since: count, attempts: count, lastAttemptAt: count }).nullable(),
  requests: count,
  errors: count,
  limited: count,
  fetchedBytes: count,
  ttfbP50Ms: maybe,
  ttfbP95Ms: maybe,
  rateLimitRemaining: maybe,
  lastError: z.strictObject({ at: count, code: text, status: maybe, message: text }).nullable(),
  errorCodes: z.array(z.strictObject({ code: text, count })),
  activeConnections: count,
  maxConnections: count,
  offline: z.boolean(),
});

const sibling = z.strictObject({
  name: text,
  state: z.enum(siblingStates),
  bytesPerSecond: maybe,
  results: z.strictObject(
    Object.fromEntries(siblingResults.map((result) => [result, count])) as Record<
      (typeof siblingResults)[number],
      typeof count
    >,
  ),
  lastHitAt: maybe,
  lastError: z.strictObject({ at: count, message: text }).nullable(),
});

const heavy = z
  .array(z.strictObject({ upstream: text, repository: text, weight: count, over: count }))
  .max(10);

/** Of a StatsDocument. Strict, so that the tests see what nobody has described. */
export const statsSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  node: z.strictObject({
    name: text,
    version: text,
    startedAt: count,
    ready: z.boolean(),
    draining: z.boolean(),
    mirrorUrl: text,
  }),
  clients: z.array(
    z.strictObject({
      client: text,
      files: z.array(z.strictObject({ path: text, text })),
      more: count,
      restart: text,
    }),
  ),
  links: z.strictObject({ runbook: text.nullable(), grafana: text.nullable(), haproxy: text.nullable() }),
  datacenter: datacenterSchema,
  verdict: z.strictObject({ level: z.enum(["ok", "degraded", "down"]), reasons: z.array(text) }),
  upstreams: z.array(upstream),
  siblings: z.array(sibling).max(8),
  drill: drillRecordSchema.nullable(),
  traffic: z.strictObject({
    inFlight: count,
    windows: z.strictObject({ "5m": window, "1h": window, "24h": window }),
    sinceStart: window,
    series: z.strictObject({
      minute: series(60, 1000),
      hour: series(60, 60_000),
      day: series(48, 1_800_000),
    }),
  }),
  store: z.strictObject({
    usedBytes: count,
    limitBytes: count,
    boundBytes: count,
    boundBy: z.enum(["maxSize", "disk"]),
    objects: count,
    diskFreeBytes: maybe,
    diskTotalBytes: maybe,
    diskReserveBytes: maybe,
    evictionMedianAgeMs: maybe,
    lastEvictionAt: maybe,
    timeToFullMs: maybe,
    scrub: z.strictObject({
      intervalMs: maybe,
      oldestCheckAt: maybe,
      checkedBlobs: count,
      checkedBytes: count,
      wrongBlobs: count,
      lastWrongAt: maybe,
      alarm: z.boolean(),
      quarantinedBytes: count,
    }),
    lastStoreError: z.strictObject({ at: count, op: text, code: text, message: text }).nullable(),
  }),
  fills: z.array(
    z.strictObject({
      digest: text,
      upstream: text,
      repository: text,
      receivedBytes: count,
      sizeBytes: maybe,
      followers: count,
      startedAt: count,
      bytesPerSecond: count,
      currentBytesPerSecond: maybe,
      silentMs: count,
      leftMs: maybe,
    }),
  ),
  slow: z
    .array(
      z.strictObject({
        at: count,
        id: text,
        client: text,
        upstream: text.nullable(),
        what: text,
        result: z.enum(results),
        source,
        sentBytes: count,
        durationMs: count,
        ttfbMs: maybe,
      }),
    )
    .max(50),
  movedTags: z
    .array(
      z.strictObject({
        at: count,
        upstream: text,
        repository: text,
        tag: text,
        from: text,
        to: text,
        by: text.nullable(),
      }),
    )
    .max(20),
  errors: z.strictObject({
    last: z
      .array(
        z.strictObject({
          at: count,
          times: z.number().min(1),
          id: text,
          method: text,
          status: count,
          client: text,
          userAgent: text.nullable(),
          upstream: text.nullable(),
          what: text,
          upstreamStatus: maybe,
          abortedBy: z.enum(["upstream", "node"]).nullable(),
          reason: text.nullable(),
        }),
      )
      .max(50),
    folded: z.array(z.strictObject({ status: z.literal([401, 404]), count, lastAt: count, lastWhat: text })),
  }),
  repositories: z.strictObject({ since: count, byBytes: heavy, byMisses: heavy }),
  services: z.array(z.strictObject({ name: text, ok: z.boolean(), asked: z.boolean(), detail: text })),
  queues: z.array(z.strictObject({ name: text, length: count })),
  savings: z.strictObject({
    month: text,
    currency: text.nullable(),
    total: z.strictObject(saved),
    teams: z.array(z.strictObject({ team: text, ...saved })),
    more: count,
  }),
  blocked: z.strictObject({ count, last: z.array(blockSchema) }),
  runtime: z.strictObject({
    eventLoopP50Ms: maybe,
    eventLoopP99Ms: maybe,
    residentBytes: maybe,
    heapBytes: count,
    externalBytes: count,
  }),
}) satisfies z.ZodType<StatsDocument>;
