// The summary of a node as another one reads it: it may come from anybody who can write to Redis, or from another version.
import { z } from "zod";
import { circuitStates, results } from "../event.ts";
import { maxDrillNetworks } from "./drill.ts";
import { type HeardSummary, type NodeSummary, nodeNameGrammar, nodeStates } from "./nodes.ts";

/** Longest summary that is read, in characters. */
export const longestSummary = 16 * 1024;

const count = z.number().nonnegative();

export const sumsSchema = z.object({
  requests: count,
  failed: count,
  results: z.object(
    Object.fromEntries(results.map((result) => [result, count])) as Record<
      (typeof results)[number],
      typeof count
    >,
  ),
  reads: count,
  hits: count,
  hitRatio: z.number().min(0).max(1).nullable(),
  sentBytes: count,
  fetchedBytes: count,
});

export const storeSchema = z.object({ usedBytes: count, limitBytes: count, objects: count });

/** Members that are not known are left out. */
export const nodeSummarySchema = z.object({
  name: z.string().regex(nodeNameGrammar),
  address: z.string().max(300).nullable(),
  version: z.string().regex(nodeNameGrammar),
  at: count,
  startedAt: count,
  state: z.enum(nodeStates),
  verdict: z.object({
    level: z.enum(["ok", "degraded", "down"]),
    reasons: z.array(z.string().max(200)).max(5),
  }),
  inFlight: count,
  lastHour: sumsSchema,
  sinceStart: sumsSchema,
  store: storeSchema,
  upstreams: z
    .array(
      z.object({
        name: z.string().max(255),
        circuit: z.enum(circuitStates),
        lastSuccessAt: count.nullable(),
      }),
    )
    .max(16),
  drill: z
    .object({
      clients: z.array(z.string().max(60)).max(maxDrillNetworks),
      startedAt: count,
      endsAt: count,
      changedAt: count,
      node: z.string().regex(nodeNameGrammar),
    })
    .nullable()
    .optional(),
}) satisfies z.ZodType<NodeSummary>;

/** Undefined for what is none. */
export function readSummary(value: unknown): NodeSummary | undefined {
  return nodeSummarySchema.safeParse(value).data;
}

/** Pairs of an age in milliseconds and a summary in JSON; what is none is left out. */
export function readHeard(pairs: readonly (readonly [age: number, text: string])[]): HeardSummary[] {
  return pairs.flatMap(([age, text]) => {
    const summary = text.length > longestSummary ? undefined : readSummary(parsed(text));
    return summary === undefined ? [] : [{ summary, ageMs: Math.max(0, age) }];
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
