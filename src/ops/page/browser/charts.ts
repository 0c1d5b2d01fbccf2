// The charts, drawn by uPlot: bandwidth both ways, requests, and where answers came from.
import type UPlot from "uplot";
import type { StatsDocument } from "../../stats/stats-document.ts";
import { timeLabels, valueRange } from "../axis.ts";
import { number, rate } from "../format.ts";
import { origins } from "../traffic-view.ts";

type Range = keyof StatsDocument["traffic"]["series"];
type Series = StatsDocument["traffic"]["series"][Range];
type Row = readonly (number | null)[];

interface Line {
  readonly label: string;
  /** Custom property of page.css that holds the colour. */
  readonly colour: string;
  readonly filled?: boolean;
}

interface Chart {
  readonly id: string;
  readonly lines: readonly Line[];
  readonly rows: (shown: Shown) => Row[];
  readonly format: (value: number) => string;
  /** The largest value on the axis of a chart without any. */
  readonly least: number;
}

declare const uPlot: typeof UPlot;

interface Shown {
  readonly series: Series;
  /** When the document was made. */
  readonly at: number;
}

const height = 170;

/** The last step is not over yet: it is taken for as long as it lasted, a quarter at least, so that it does not jump. */
function perSecond(column: readonly number[], { series: { startAt, stepMs }, at }: Shown): number[] {
  const last = column.length - 1;
  const begun = Math.min(stepMs, Math.max(stepMs / 4, at - (startAt + last * stepMs)));
  return column.map((value, step) => value / ((step === last ? begun : stepMs) / 1000));
}

/** Drawn from the back: the sum of all first, so that each layer shows what it adds. */
const stacked = [...origins].reverse();

const charts: readonly Chart[] = [
  {
    id: "bandwidth",
    lines: [
      { label: "sent", colour: "--sent", filled: true },
      { label: "fetched", colour: "--fetched", filled: true },
    ],
    rows: (shown) => [
      perSecond(shown.series.sentBytes, shown),
      perSecond(shown.series.fetchedBytes, shown).map((value) => -value),
    ],
    format: (value) => rate(Math.abs(value)),
    least: 1000,
  },
  {
    id: "requests",
    lines: [
      { label: "requests", colour: "--sent", filled: true },
      { label: "failed", colour: "--error" },
    ],
    rows: (shown) => [
      perSecond(shown.series.requests, shown),
      // No line where nothing failed.
      perSecond(shown.series.failed, shown).map((value) => value || null),
    ],
    format: short,
    least: 1,
  },
  {
    id: "origins",
    lines: stacked.map(([result]) => ({ label: result, colour: `--${result}`, filled: true })),
    rows: (shown) => {
      const sums = shown.series.requests.map(() => 0);
      const layers = origins.map(([result]) =>
        perSecond(shown.series.results[result], shown).map((value, at) => {
          sums[at] = (sums[at] ?? 0) + value;
          return sums[at] ?? 0;
        }),
      );
      return layers.reverse();
    },
    format: short,
    least: 1,
  },
];

export interface Charts {
  show(document: StatsDocument, range: Range): void;
}

/** Draws into the figures of the page; anew when the colours change. */
export function createCharts(): Charts {
  const drawn = new Map<Chart, UPlot>();
  let last: Shown | undefined;
  const draw = (): void => {
    if (last === undefined) return;
    // All at once: how wide one is depends on the others.
    for (const { id } of charts) document.getElementById(`chart-${id}`)?.removeAttribute("hidden");
    for (const chart of charts) {
      const figure = document.getElementById(`chart-${chart.id}`);
      const plot = drawn.get(chart);
      if (plot !== undefined) plot.setData(dataOf(chart, last));
      else if (figure !== null)
        drawn.set(chart, new uPlot(optionsOf(chart, figure), dataOf(chart, last), figure));
    }
  };
  const redraw = (): void => {
    for (const plot of drawn.values()) plot.destroy();
    drawn.clear();
    draw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", () => {
    for (const [chart, plot] of drawn) plot.setSize({ width: widthOf(chart), height });
  });
  return {
    show({ traffic, at }, range) {
      last = { series: traffic.series[range], at };
      draw();
    },
  };
}

function dataOf(chart: Chart, shown: Shown): UPlot.AlignedData {
  const { requests, startAt, stepMs } = shown.series;
  const times = requests.map((_, at) => (startAt + at * stepMs) / 1000);
  return [times, ...chart.rows(shown)] as unknown as UPlot.AlignedData;
}

function widthOf({ id }: Chart): number {
  return document.getElementById(`chart-${id}`)?.clientWidth ?? 300;
}

function optionsOf(chart: Chart, figure: HTMLElement): UPlot.Options {
  const style = getComputedStyle(figure);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--muted"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const values = (_: UPlot, splits: number[]) => splits.map((value) => chart.format(value));
  return {
    width: figure.clientWidth,
    height,
    cursor: { drag: { x: false, y: false } },
    legend: { live: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { y: { range: (_, min, max) => valueRange(min, max, chart.least) } },
    axes: [
      { ...axis, space: 70, values: (_, splits) => timeLabels(splits) },
      { ...axis, size: 84, space: 26, values },
    ],
    series: [
      {},
      ...chart.lines.map(({ label, colour: name, filled }) => ({
        label,
        stroke: colour(name),
        width: filled ? 1 : 2,
        points: { show: false },
        ...(filled ? { fill: colour(name) } : {}),
      })),
    ],
  };
}

function short(value: number): string {
  return value >= 100 ? number(value) : String(Number(value.toPrecision(2)));
}
