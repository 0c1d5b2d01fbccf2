// What the growth scenarios have measured as one picture: a line of charts for each axis. ECharts makes the SVG by itself, in
// Node, without a browser or native code, and keeps text as text.
import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { ScenarioReport } from "../report.ts";
import { numberText } from "../table.ts";
import { type Curve, curveOf } from "./axis.ts";

use([BarChart, LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

interface Chart {
  readonly title: string;
  /** The ids of its figures: one as bars, several as lines with these names. */
  readonly figures: Readonly<Record<string, string>>;
}

/** A line of the picture. */
interface Line {
  /** The scenario. */
  readonly name: string;
  /** What grows, below each chart. */
  readonly axis: string;
  readonly charts: readonly Chart[];
}

const rate: Chart = { title: "Cached manifests, requests/s", figures: { "manifest-rate": "" } };
const cpu: Chart = { title: "CPU µs a request", figures: { "manifest-cpu": "" } };
const hits: Chart = { title: "Blob hits, GB/s", figures: { "hit-rate": "" } };
const memory: Chart = { title: "Peak memory, MB", figures: { rss: "" } };

const lines: readonly Line[] = [
  { name: "growth-workers", axis: "workers", charts: [rate, cpu, hits, memory] },
  {
    name: "growth-index",
    axis: "blobs in the index",
    charts: [rate, cpu, { title: "Blobs of 70 KB, requests/s", figures: { "spread-rate": "" } }, memory],
  },
  { name: "growth-clients", axis: "clients at once", charts: [rate, cpu, hits, memory] },
  { name: "growth-nodes", axis: "nodes behind HAProxy", charts: [rate, cpu, hits, memory] },
  {
    name: "growth-cache-size",
    axis: "room, % of the bytes of all blobs",
    charts: [
      { title: "Blobs hit, %", figures: { objects: "Entrepôt", "lru-objects": "least recently used" } },
      { title: "Bytes hit, %", figures: { bytes: "Entrepôt", "lru-bytes": "least recently used" } },
    ],
  },
];

/** Pixels. */
const width = 1_000;
const lineHeight = 200;
const margin = 16;
const above = 54;
const below = 44;

/** White also in dark viewers: one picture for both, whose greys and blues stand out from it. */
const background = "#ffffff";
const strong = "#1f2328";
const weak = "#59636e";
const ours = "#0969da";
const other = "#bc4c00";

/** Whether the scenario is drawn. */
export function hasPicture(scenario: string): boolean {
  return lines.some(({ name }) => name === scenario);
}

/** An SVG document; the same for the same numbers. Axes that were not measured are left out. */
export function pictureOf(reports: readonly ScenarioReport[]): string {
  const measured = lines.flatMap((line) => {
    const rows = reports.find(({ name }) => name === line.name)?.rows ?? [];
    return rows.length === 0 ? [] : [{ line, rows }];
  });
  const option: Parts = { title: [], grid: [], legend: [], xAxis: [], yAxis: [], series: [] };
  measured.forEach(({ line, rows }, at) => {
    line.charts.forEach((chart, column) => {
      const each = width / line.charts.length;
      const box = { left: column * each, top: at * lineHeight, width: each };
      const curves = Object.entries(chart.figures).map(([id, name]) => ({ name, curve: curveOf(rows, id) }));
      addChart(option, { chart, axis: line.axis, curves, box });
    });
  });
  const height = Math.max(1, measured.length) * lineHeight;
  const drawn = init(null, null, { renderer: "svg", ssr: true, width, height });
  drawn.setOption({ animation: false, backgroundColor: background, ...option } satisfies EChartsCoreOption);
  const svg = drawn.renderToSVGString();
  drawn.dispose();
  return `${still(svg)}\n`;
}

/**
 * With a title for those who do not see it, without what is for pointers in a page, and without the number in names that counts what
 * this process has drawn.
 */
function still(svg: string): string {
  return svg
    .replace(/^<svg [^>]*>/, "$&\n<title>What grows, and what it costs</title>")
    .replaceAll(/ (?:class|pointer-events|ecmeta_\w+)="[^"]*"/g, "")
    .replaceAll(/<style[^>]*>.*?<\/style>\s*/gs, "")
    .replaceAll(/\bzr\d+-/g, "");
}

/** The parts of the option that all charts share, each an element for each chart. */
type Parts = Record<"title" | "grid" | "legend" | "xAxis" | "yAxis" | "series", object[]>;

interface Placed {
  readonly chart: Chart;
  readonly axis: string;
  readonly curves: readonly { readonly name: string; readonly curve: Curve }[];
  readonly box: { readonly left: number; readonly top: number; readonly width: number };
}

function addChart(parts: Parts, { chart, axis, curves, box }: Placed): void {
  const at = parts.grid.length;
  const points = curves[0]?.curve.map(({ point }) => pointText(point)) ?? [];
  const textStyle = { fontSize: 13, color: strong };
  parts.title.push({ text: chart.title, left: box.left + margin, top: box.top + 6, textStyle });
  if (curves.length > 1)
    parts.legend.push({
      data: curves.map(({ name }) => name),
      left: box.left + 110,
      top: box.top + 3,
      textStyle: { fontSize: 12, color: strong },
    });
  parts.grid.push({
    left: box.left + margin,
    top: box.top + above,
    width: box.width - 2 * margin,
    height: lineHeight - above - below,
    containLabel: false,
  });
  parts.xAxis.push({
    gridIndex: at,
    type: "category",
    data: points,
    name: axis,
    nameLocation: "middle",
    nameGap: 22,
    nameTextStyle: { color: weak, fontSize: 12 },
    axisTick: { show: false },
    axisLine: { lineStyle: { color: weak } },
    axisLabel: { color: strong, fontSize: 12, interval: 0 },
  });
  // The numbers stand at the bars and points; all begin at nothing.
  parts.yAxis.push({ gridIndex: at, type: "value", min: 0, show: false });
  curves.forEach(({ name, curve }, number) => {
    const color = number === 0 ? ours : other;
    parts.series.push({
      type: curves.length === 1 ? "bar" : "line",
      name,
      xAxisIndex: at,
      yAxisIndex: at,
      data: curve.map(({ value }) => value),
      itemStyle: { color },
      lineStyle: { color, width: 2 },
      symbolSize: 6,
      barMaxWidth: 44,
      emphasis: { disabled: true },
      label: {
        show: true,
        position: number === 0 ? "top" : "bottom",
        color: number === 0 ? strong : other,
        textBorderWidth: 0,
        fontSize: 12,
        formatter: ({ value }: { readonly value: number }) => numberText(value),
      },
    });
  });
}

/** `5 M`, `100 k`, `20`. */
function pointText(point: number): string {
  if (point >= 1_000_000) return `${point / 1_000_000} M`;
  return point >= 1_000 ? `${point / 1_000} k` : String(point);
}
