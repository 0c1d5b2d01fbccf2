// From the samples of all rounds to medians, spreads, ratios and verdicts: what the table shows and the JSON holds.
import { type Measure, ours, type Sample, type Scenario, type Target, type Unit } from "./scenario.ts";
import { type Spread, spreadOf } from "./statistics.ts";

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
  /** By peer: over all rounds. */
  readonly values: Readonly<Record<string, Spread & { readonly rounds: readonly number[] }>>;
  /** By other peer: ours over theirs, each of the same round. */
  readonly ratios: Readonly<Record<string, Spread>>;
  readonly targets: readonly Verdict[];
}

/** What a target says of this run. */
export interface Verdict {
  readonly text: string;
  readonly met: boolean;
}

export interface ScenarioReport {
  readonly name: string;
  readonly title: string;
  readonly result: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly reason?: string;
  readonly rounds: number;
  /** Statuses, digests, lengths and counts looked at, over all rounds. */
  readonly checks: number;
  readonly rows: readonly Row[];
}

export interface Report {
  readonly quick: boolean;
  readonly machine: Readonly<Record<string, string>>;
  readonly peers: readonly string[];
  readonly seconds: number;
  readonly scenarios: readonly ScenarioReport[];
}

/** One row per measure that has samples, in the scenario's order. `rounds` has the samples of each round. */
export function rowsOf({ measures }: Scenario, rounds: readonly (readonly Sample[])[]): Row[] {
  return measures.map((measure) => rowOf(measure, rounds)).filter(({ values }) => ours in values);
}

function rowOf(measure: Measure, rounds: readonly (readonly Sample[])[]): Row {
  const byPeer = new Map<string, number[]>();
  for (const samples of rounds)
    for (const { peer, value } of samples.filter((sample) => sample.measure === measure.id))
      byPeer.set(peer, [...(byPeer.get(peer) ?? []), value]);
  const own = byPeer.get(ours) ?? [];
  const peers = [...byPeer].sort(([a], [b]) => a.localeCompare(b));
  const values = Object.fromEntries(peers.map(([peer, all]) => [peer, { ...spreadOf(all), rounds: all }]));
  const ratios = Object.fromEntries(
    peers
      .filter(
        ([peer, all]) => peer !== ours && all.length === own.length && all.every((value) => value !== 0),
      )
      .map(([peer, all]) => [peer, spreadOf(all.map((value, at) => (own[at] as number) / value))]),
  );
  const targets = (measure.targets ?? []).flatMap((target) =>
    verdictOf(target, values[ours]?.median, ratios),
  );
  return { id: measure.id, title: measure.title, unit: measure.unit, values, ratios, targets };
}

/** None when the peer it compares with was not measured. With several of that name it must hold against each. */
function verdictOf(
  target: Target,
  own: number | undefined,
  ratios: Readonly<Record<string, Spread>>,
): Verdict[] {
  const { against, atLeast, atMost } = target;
  const bound = atLeast === undefined ? `≤ ${grouped(atMost)}` : `≥ ${grouped(atLeast)}`;
  const compared =
    against === undefined
      ? [own ?? Number.NaN]
      : Object.keys(ratios)
          .filter((peer) => peer.startsWith(against))
          .map((peer) => ratios[peer]?.median ?? Number.NaN);
  if (compared.length === 0) return [];
  const met = compared.every((value) => value >= (atLeast ?? -Infinity) && value <= (atMost ?? Infinity));
  return [{ text: against === undefined ? bound : `${bound}× ${against}`, met }];
}

function grouped(value: number | undefined): string {
  return (value ?? Number.NaN).toLocaleString("en");
}
