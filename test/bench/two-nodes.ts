// Two mirrors behind HAProxy against one behind it. On two cores the clients and HAProxy take their part of them, so
// that two nodes cannot show twice the requests a second; what each costs a node's core is what counts for machines
// that are theirs alone: requests per second of processor time of the mirrors, times the number of nodes.
import { makeNodeContent, type NodeContent, startBalancedNodes } from "./balanced-nodes.ts";
import type { FarRegistry } from "./far-registry.ts";
import { type Figures, hitBlobs, hitManifests } from "./hits.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { mebibyte } from "./size.ts";

/** Downloads at once. */
const width = 8;

export function twoNodes({ quick }: Scale): Scenario {
  const seconds = quick ? 1 : 2;
  const size = (quick ? 1 : 8) * mebibyte;
  return {
    name: "two-nodes",
    title: "Two nodes behind HAProxy against one behind it",
    programs: ["wrk", "haproxy", "python3"],
    measures: [...measuresOf("manifest", "Cached manifest"), ...measuresOf("blob", "Blob hits")],
    async run(round) {
      const content = makeNodeContent(size);
      const far = await round.startFar(content.repositories);
      const one = await measure(round, far, 1, content, seconds);
      const two = await measure(round, far, 2, content, seconds);
      return (["manifest", "blob"] as const).flatMap((what) => comparisonOf(what, one[what], two[what]));
    },
  };
}

function measuresOf(what: "manifest" | "blob", title: string): readonly Measure[] {
  const [rate, cpu] =
    what === "manifest" ? (["requests/s", "CPU µs/request"] as const) : (["GB/s", "CPU s/GB"] as const);
  return [
    { id: `${what}-one-rate`, title: `${title}, one node`, unit: rate },
    { id: `${what}-two-rate`, title: `${title}, two nodes`, unit: rate },
    { id: `${what}-one-cpu`, title: `${title}, one node`, unit: cpu },
    { id: `${what}-two-cpu`, title: `${title}, two nodes together`, unit: cpu },
    {
      id: `${what}-gain`,
      title: `${title}, two nodes against one: work per second of mirrors' CPU, times nodes`,
      unit: "×",
      targets: [{ atLeast: 1.7 }],
    },
  ];
}

function comparisonOf(what: "manifest" | "blob", one: Figures, two: Figures): Sample[] {
  const values = {
    "one-rate": one.rate,
    "two-rate": two.rate,
    "one-cpu": one.cpu,
    "two-cpu": two.cpu,
    gain: (2 * one.cpu) / two.cpu,
  };
  return samplesOf(ours, values, (name) => `${what}-${name}`);
}

async function measure(
  round: Round,
  far: FarRegistry,
  count: 1 | 2,
  content: NodeContent,
  seconds: number,
): Promise<Record<"manifest" | "blob", Figures>> {
  const { manifests, blobs } = content;
  const { stop, ...balanced } = await startBalancedNodes(round, far, count, content);
  const before = (await far.asked()).length;
  // So that each of two warms up on as many requests as one alone.
  await hitManifests(round, { ...balanced, seconds: seconds * count, connections: 32 }, manifests);
  const manifest = await hitManifests(round, { ...balanced, seconds, connections: 32 }, manifests);
  await hitBlobs(round, { ...balanced, seconds: seconds * count, connections: width }, blobs);
  const blob = await hitBlobs(round, { ...balanced, seconds, connections: width }, blobs);
  round.equal(`upstream requests of ${count} nodes for hits`, (await far.asked()).length, before);
  await stop();
  return { manifest, blob };
}
