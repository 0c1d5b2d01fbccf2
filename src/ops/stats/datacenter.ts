// The nodes of the datacenter as this one knows them, and their sums. Nodes that were heard of and have gone stay listed for
// a day, so that whoever looks sees what is missing.
import { LRUCache } from "lru-cache";
import {
  type HeardSummary,
  type KnownNode,
  type NodeSummary,
  nodeStates,
  type TrafficSums,
} from "../../ports/datacenter/nodes.ts";
import { results } from "../../ports/event.ts";

export const rowStates = [...nodeStates, "unreachable"] as const;

export interface NodeRow extends Omit<NodeSummary, "state"> {
  readonly state: (typeof rowStates)[number];
  /** The node that answers. */
  readonly self: boolean;
  /** By this node's clock. */
  readonly heardAt: number;
  /** When it was heard of last; null while it answers. What else is said of it is what it said then. */
  readonly unreachableSince: number | null;
}

/** Times in milliseconds since the epoch, by the clock of the node that answers but for `at` and `startedAt` of the others. */
export interface DatacenterDocument {
  readonly at: number;
  /** By name; at most 65. */
  readonly nodes: readonly NodeRow[];
  /** Of the nodes that are not unreachable. A blob on several disks counts on each. */
  readonly totals: Pick<NodeSummary, "inFlight" | "lastHour" | "sinceStart" | "store"> & {
    readonly nodes: number;
    readonly unreachable: number;
  };
}

/** Other nodes that are remembered; of more, those heard of the longest ago are forgotten. */
const maxOthers = 64;
/** Milliseconds without a word, of which there is one every 5 s, after which a node counts as unreachable, or is left out. */
const silentAfter = 15_000;
const forgottenAfter = 86_400_000;

interface Heard {
  readonly summary: NodeSummary;
  /** By the steady clock, which says who is there. */
  readonly at: number;
  /** By the wall clock, to be shown. */
  readonly shownAt: number;
}

export class Datacenter {
  readonly #clock: () => number;
  readonly #steady: () => number;
  readonly #others = new LRUCache<string, Heard>({ max: maxOthers });

  /** Both in milliseconds: the time of day, and a clock that only goes forward (ports/clock.ts). */
  constructor(clock: () => number, steady: () => number) {
    this.#clock = clock;
    this.#steady = steady;
  }

  /** What other nodes have said. Of whom nothing is told here, what is known stays. */
  heard(others: readonly HeardSummary[]): void {
    const now = this.#steady();
    const shown = this.#clock();
    for (const { summary, ageMs } of others) {
      const before = this.#others.get(idOf(summary));
      if (before === undefined || now - ageMs >= before.at)
        this.#others.set(idOf(summary), { summary, at: now - ageMs, shownAt: shown - ageMs });
    }
  }

  /** The other nodes; those that are unreachable without their address, because they are not to be asked. */
  neighbours(): readonly KnownNode[] {
    const now = this.#steady();
    this.#forget(now);
    return [...this.#others.values()].map((other) => {
      const { name, address } = other.summary;
      return answers(other, now) ? { name, address } : { name, address: null, lastAddress: address };
    });
  }

  /** `summary`: what this node is now. */
  document(summary: NodeSummary): DatacenterDocument {
    const at = this.#clock();
    const now = this.#steady();
    this.#forget(now);
    const own: NodeRow = { ...summary, self: true, heardAt: at, unreachableSince: null };
    const others = [...this.#others.values()].map((other) => rowOf(other, now));
    const nodes = [own, ...others].sort((a, b) => compare(a.name, b.name) || compare(idOf(a), idOf(b)));
    return { at, nodes, totals: totalsOf(nodes) };
  }

  #forget(now: number): void {
    for (const [id, other] of this.#others.entries())
      if (now - other.at > forgottenAfter) this.#others.delete(id);
  }
}

/** Two nodes may have the same name, by mistake, and are still two. */
function idOf({ name, address }: Pick<NodeSummary, "name" | "address">): string {
  return `${name} ${address ?? ""}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function answers({ at }: Heard, now: number): boolean {
  return now - at <= silentAfter;
}

function rowOf(other: Heard, now: number): NodeRow {
  const { summary, shownAt } = other;
  const isThere = answers(other, now);
  const state = isThere ? summary.state : "unreachable";
  return { ...summary, state, self: false, heardAt: shownAt, unreachableSince: isThere ? null : shownAt };
}

function totalsOf(rows: readonly NodeRow[]): DatacenterDocument["totals"] {
  const there = rows.filter(({ state }) => state !== "unreachable");
  const sum = (of: (row: NodeRow) => number): number => there.reduce((total, row) => total + of(row), 0);
  return {
    nodes: rows.length,
    unreachable: rows.length - there.length,
    inFlight: sum(({ inFlight }) => inFlight),
    lastHour: sumsOf(there.map(({ lastHour }) => lastHour)),
    sinceStart: sumsOf(there.map(({ sinceStart }) => sinceStart)),
    store: {
      usedBytes: sum(({ store }) => store.usedBytes),
      limitBytes: sum(({ store }) => store.limitBytes),
      objects: sum(({ store }) => store.objects),
    },
  };
}

function sumsOf(parts: readonly TrafficSums[]): TrafficSums {
  const sum = (of: (part: TrafficSums) => number): number =>
    parts.reduce((total, part) => total + of(part), 0);
  const reads = sum((part) => part.reads);
  const hits = sum((part) => part.hits);
  return {
    requests: sum((part) => part.requests),
    failed: sum((part) => part.failed),
    results: Object.fromEntries(
      results.map((result) => [result, sum((part) => part.results[result])]),
    ) as TrafficSums["results"],
    reads,
    hits,
    hitRatio: reads === 0 ? null : hits / reads,
    sentBytes: sum((part) => part.sentBytes),
    fetchedBytes: sum((part) => part.fetchedBytes),
  };
}
