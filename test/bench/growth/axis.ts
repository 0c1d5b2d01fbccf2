// One thing that grows, and what the mirror gives and takes at each of its sizes. Each axis is a scenario of its own.
import type { FarRegistry } from "../far-registry.ts";
import type { Figures } from "../hits.ts";
import type { ScenarioReport } from "../report.ts";
import type { Round } from "../round.ts";
import { ours, type Sample, type Scenario, samplesOf, type Unit } from "../scenario.ts";
import type { Server } from "../server.ts";
import { median } from "../statistics.ts";

/** What is measured at every point. */
export interface Figure {
  /** Unique in its axis, in kebab case. */
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
}

export interface Axis {
  /** The scenario is `growth-NAME`. */
  readonly name: string;
  readonly title: string;
  /** Whole numbers, ascending. */
  readonly points: readonly number[];
  /** A point in words, in the title of its measures. */
  readonly pointText: (point: number) => string;
  readonly figures: readonly Figure[];
  readonly programs?: readonly string[];
  /** Times each point is measured, after it has warmed up. */
  readonly turns: number;
  prepare(round: Round): Promise<Prepared>;
}

export interface Prepared {
  /** Upstream of all points. Once they run it is asked for nothing but whether tags still hold. */
  readonly far?: FarRegistry;
  start(point: number): Promise<RunningPoint>;
}

/** Numbers by the ids of their figures. */
export type Numbers = Readonly<Record<string, number>>;

/** A point whose servers run. */
export interface RunningPoint {
  /** With `long`, for as long as it takes to warm up. */
  measure(long: boolean): Promise<Numbers>;
  /** Stops its servers; gives what is known only at the end. */
  end(): Promise<Numbers>;
}

/** One figure over the points of an axis. */
export type Curve = readonly { readonly point: number; readonly value: number }[];

export const manifestFigures: readonly Figure[] = [
  { id: "manifest-rate", title: "cached manifest by tag", unit: "requests/s" },
  { id: "manifest-cpu", title: "the same", unit: "CPU µs/request" },
];
export const memoryFigure: Figure = { id: "rss", title: "peak memory of all its processes", unit: "MB" };

export function blobFigures(title: string): readonly Figure[] {
  return [
    { id: "hit-rate", title, unit: "GB/s" },
    { id: "hit-cpu", title: "the same", unit: "CPU s/GB" },
  ];
}

/** Of hits of manifests and blobs, as figures. */
export function hitNumbers(manifest: Figures, blob: Figures): Numbers {
  return {
    "manifest-rate": manifest.rate,
    "manifest-cpu": manifest.cpu,
    "hit-rate": blob.rate,
    "hit-cpu": blob.cpu,
  };
}

/** Stops the servers, whose peak memory it gives. */
export async function endOf(servers: readonly Server[], stop?: () => Promise<void>): Promise<Numbers> {
  const rss = servers.reduce((sum, server) => sum + server.peakRss(), 0) / 1e6;
  for (const server of servers) await server.stop();
  await stop?.();
  return { rss };
}

/**
 * All points run at once and are measured in turn, there and back, so that what else the machine does meets all of them; each
 * number is the median of its turns.
 */
export function growthScenario(axis: Axis): Scenario {
  const { name, title, points, pointText, figures, programs = [], turns } = axis;
  return {
    name: `growth-${name}`,
    title,
    programs,
    // It has turns of its own.
    mostRounds: 1,
    measures: points.flatMap((point) =>
      figures.map((figure) => ({
        id: `${point}-${figure.id}`,
        title: `${pointText(point)}: ${figure.title}`,
        unit: figure.unit,
      })),
    ),
    async run(round) {
      const { far, start } = await axis.prepare(round);
      const running: { readonly point: number; readonly runs: RunningPoint; readonly turns: Numbers[] }[] =
        [];
      for (const point of points) running.push({ point, runs: await start(point), turns: [] });
      const before = await gets(far);
      if (turns > 1) for (const { runs } of running) await runs.measure(true);
      for (let turn = 0; turn < turns; turn++)
        for (const each of turn % 2 === 0 ? running : running.toReversed())
          each.turns.push(await each.runs.measure(false));
      round.equal("what upstream was asked for in all turns", await gets(far), before);
      const samples: Sample[] = [];
      for (const { point, runs, turns } of running) {
        const values = { ...mediansOf(turns), ...(await runs.end()) };
        samples.push(...samplesOf(ours, values, (figure) => `${point}-${figure}`));
      }
      return samples;
    },
  };
}

async function gets(far: FarRegistry | undefined): Promise<number> {
  return ((await far?.asked()) ?? []).filter(({ method }) => method === "GET").length;
}

function mediansOf(turns: readonly Numbers[]): Numbers {
  const figures = Object.keys(turns[0] ?? {});
  return Object.fromEntries(
    figures.map((figure) => [figure, median(turns.map((numbers) => numbers[figure] ?? Number.NaN))]),
  );
}

type Rows = ScenarioReport["rows"];

/** The figures of the rows of a scenario, in their order. */
export function figuresOf(rows: Rows): readonly Figure[] {
  const figures = new Map<string, Figure>();
  for (const { id: measure, title, unit } of rows) {
    const { figure: id } = partsOf(measure);
    // Behind the point in words.
    if (!figures.has(id)) figures.set(id, { id, title: title.slice(title.indexOf(": ") + 2), unit });
  }
  return [...figures.values()];
}

/** The curve of a figure, from the rows of its scenario. */
export function curveOf(rows: Rows, figure: string): Curve {
  return rows.flatMap(({ id, values }) => {
    const parts = partsOf(id);
    const value = values[ours]?.median;
    return parts.figure === figure && value !== undefined ? [{ point: parts.point, value }] : [];
  });
}

/** The point and the figure of a measure. */
function partsOf(measure: string): { readonly point: number; readonly figure: string } {
  const end = measure.indexOf("-");
  return { point: Number(measure.slice(0, end)), figure: measure.slice(end + 1) };
}
