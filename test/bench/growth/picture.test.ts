// From the rows of a report to the picture.
import t from "tap";
import type { ScenarioReport } from "../report.ts";
import { ours } from "../scenario.ts";
import { hasPicture, pictureOf } from "./picture.ts";

/** A scenario with these numbers, by figure, of points 1, 2 and so on. */
function measured(name: string, figures: Readonly<Record<string, readonly number[]>>): ScenarioReport {
  const rows = Object.entries(figures).flatMap(([figure, numbers]) =>
    numbers.map((value, at) => ({
      id: `${10 ** at}-${figure}`,
      title: figure,
      unit: "MB" as const,
      values: { [ours]: { median: value, min: value, max: value, rounds: [value] } },
      ratios: {},
      targets: [],
    })),
  );
  return { name, title: name, result: "passed", rounds: 1, checks: 1, rows };
}

const load = {
  "manifest-rate": [17_803, 31_999, 22_222],
  "manifest-cpu": [55.5, 44.4, 33.3],
  "hit-rate": [1.11, 2.22, 3.33],
  "hit-cpu": [0.4, 0.5, 0.6],
  "spread-rate": [9_999, 8_888, 7_777],
  rss: [171, 272, 373],
};
const hits = {
  objects: [56.3, 63.8],
  bytes: [43.3, 55.8],
  "lru-objects": [41.1, 54.5],
  "lru-bytes": [40.5, 53.9],
};
const all = [
  ...["workers", "index", "clients", "nodes"].map((name) => measured(`growth-${name}`, load)),
  measured("growth-cache-size", hits),
];

function texts(svg: string): readonly string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text = ""]) => text);
}

t.test("every axis has its charts, and every number stands in them as text", async (t) => {
  const svg = pictureOf(all);
  t.match(svg, /^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"[^>]*>\n<title>\w/);
  const found = texts(svg);
  const count = (text: string): number => found.filter((each) => each === text).length;
  t.equal(count("Cached manifests, requests/s"), 4);
  t.equal(count("Blob hits, GB/s"), 3);
  t.equal(count("Peak memory, MB"), 4);
  for (const text of ["17,803", "31,999", "22,222", "55.5", "171"]) t.equal(count(text), 4, text);
  for (const text of ["9,999", "56.3", "54.5", "40.5"]) t.equal(count(text), 1, text);
  t.equal(count("least recently used"), 2);
  t.ok(count("100") >= 4, "the points stand below");
});

t.test("it is small, the same for the same numbers, and needs no other file and no script", async (t) => {
  const svg = pictureOf(all);
  t.equal(pictureOf(all), svg);
  t.ok(Buffer.byteLength(svg) < 60_000, `${Buffer.byteLength(svg)} bytes`);
  t.notMatch(svg, /<script|<style|<image|href=|class=/);
  t.match(svg, /<rect [^>]*fill="#ffffff"/, "with a background of its own");
});

t.test("an axis that was not measured is left out", async (t) => {
  const found = texts(pictureOf(all.slice(0, 1)));
  t.ok(found.includes("workers"));
  t.notOk(found.includes("clients at once"));
  t.ok(hasPicture("growth-workers"));
  t.notOk(hasPicture("cached-manifests"));
});
