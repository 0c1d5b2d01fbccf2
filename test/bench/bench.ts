// `npm run bench`: Entrepôt and what people would run instead, on one machine, in one run, in turn.
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { available } from "../system/fixtures/requires.ts";
import { accessModes } from "./access-modes.ts";
import { blobHits } from "./blob-hits.ts";
import { cachedManifests } from "./cached-manifests.ts";
import { coldMisses } from "./cold-misses.ts";
import { debianRegistry, versionOfDistribution } from "./distribution.ts";
import { growthCacheSize } from "./growth/cache-size.ts";
import { growthClients } from "./growth/clients.ts";
import { growthIndex } from "./growth/index-blobs.ts";
import { growthNodes } from "./growth/nodes.ts";
import { hasPicture, pictureOf } from "./growth/picture.ts";
import { growthTables } from "./growth/tables.ts";
import { growthWorkers } from "./growth/workers.ts";
import { herd } from "./herd.ts";
import { indexSize } from "./index-size.ts";
import { longLink } from "./long-link.ts";
import { machineFacts, moveTo, placesOf } from "./machine.ts";
import { mixedLoad } from "./mixed-load.ts";
import { parallelDownloads } from "./parallel-downloads.ts";
import { distribution, entrepot, nginx, type Peer } from "./peer.ts";
import { prefetch } from "./prefetch.ts";
import { prefetchTrace } from "./prefetch-trace.ts";
import { regularTags } from "./regular-tags.ts";
import type { Report, ScenarioReport } from "./report.ts";
import type { Round } from "./round.ts";
import { missingPrograms, runScenario } from "./run-scenario.ts";
import type { Scale, Scenario } from "./scenario.ts";
import { severalProcesses } from "./several-processes.ts";
import { markdownOf } from "./table.ts";
import { traceReplay } from "./trace-replay.ts";
import { tracing } from "./tracing.ts";
import { twoNodes } from "./two-nodes.ts";

/** In the order of the table. */
const scenarios: readonly ((scale: Scale) => Scenario)[] = [
  cachedManifests,
  blobHits,
  parallelDownloads,
  coldMisses,
  mixedLoad,
  longLink,
  prefetch,
  prefetchTrace,
  severalProcesses,
  accessModes,
  tracing,
  traceReplay,
  regularTags,
  herd,
  twoNodes,
  indexSize,
  growthWorkers,
  growthIndex,
  growthClients,
  growthNodes,
  growthCacheSize,
];

interface Flags {
  readonly quick: boolean;
  readonly rounds?: number;
  readonly only?: readonly string[];
  readonly registry?: string;
  readonly trace?: string;
  readonly json?: string;
  readonly picture?: string;
}

const program = new Command("bench")
  .description("Entrepôt, CNCF Distribution and nginx on one machine, in turn; prints a Markdown table")
  .option("--quick", "small sizes, one round: checks counts, measures nothing", false)
  .option("--rounds <number>", "rounds of each scenario (default: 5, 1 with --quick)", wholeNumber)
  .option("--only <names...>", `scenarios to run: ${scenarios.map(nameOf).join(" ")}`)
  .option("--registry <path>", "a newer binary of Distribution, as one more peer")
  .option(
    "--trace <file>",
    "a recorded trace for the scenario trace: a URI a line, its bytes behind it if known",
  )
  .option("--json <file>", "write every number to this file")
  .option("--picture <file>", "draw what the scenarios growth-… have measured into this file, as SVG");
process.exitCode = await main(program.parse().opts<Flags>());

async function main(flags: Flags): Promise<number> {
  const { quick, rounds = quick ? 1 : 5, only } = flags;
  const chosen = scenarios
    .map((make) => make({ quick, trace: flags.trace }))
    .filter(({ name }) => only === undefined || only.includes(name));
  const problem = problemWith(flags, chosen);
  if (problem !== undefined) return say(problem, 2);
  const places = placesOf();
  const machine = await machineFacts();
  await moveTo(places.load);
  const start = performance.now();
  const peers = await makePeers(flags.registry);
  const reports: ScenarioReport[] = [];
  const current = endedBySignals();
  const report = (): Report => ({
    quick,
    machine,
    peers: peers.map(({ name }) => name),
    seconds: Math.round((performance.now() - start) / 1000),
    scenarios: reports,
  });
  for (const scenario of chosen) {
    reports.push(await runScenario(scenario, { rounds, peers, places, say, onRound: current }));
    // After each: a full run takes a quarter of an hour, and whoever ends it early keeps what there is.
    if (flags.json !== undefined) await writeFile(flags.json, `${JSON.stringify(report(), null, 2)}\n`);
  }
  if (flags.picture !== undefined) await writeFile(flags.picture, pictureOf(reports));
  process.stdout.write(`${markdownOf(report())}\n${growthTables(reports)}`);
  say(`${report().seconds} s`);
  return reports.some(({ result }) => result === "failed") ? 1 : 0;
}

function problemWith(
  { only, registry, trace, picture }: Flags,
  chosen: readonly Scenario[],
): string | undefined {
  const known = new Set(scenarios.map(nameOf));
  const unknown = only?.filter((name) => !known.has(name)) ?? [];
  if (unknown.length > 0)
    return `no such scenario: ${unknown.join(", ")}; there are ${[...known].join(", ")}`;
  const programs = [
    ...chosen.flatMap(missingPrograms),
    ...[debianRegistry].filter((name) => !available(name)),
  ];
  if (programs.length > 0)
    return `missing: ${[...new Set(programs)].join(", ")}; test/system/install-debian.sh installs what the bench runs`;
  if (picture !== undefined && !chosen.some(({ name }) => hasPicture(name)))
    return `--picture ${picture}: it draws the scenarios growth-…, and none of them is to run`;
  if (trace !== undefined && !existsSync(trace)) return `--trace ${trace}: no file there`;
  if (registry !== undefined && !existsSync(registry)) return `--registry ${registry}: no program there`;
  return undefined;
}

async function makePeers(registry: string | undefined): Promise<readonly Peer[]> {
  const debian = await versionOfDistribution(debianRegistry);
  if (registry === undefined) return [entrepot, distribution(debianRegistry, debian), nginx];
  const path = resolve(registry);
  const version = await versionOfDistribution(path);
  const given = distribution(path, version === debian ? `${version} as given` : version);
  return [entrepot, distribution(debianRegistry, debian), given, nginx];
}

/** Makes a signal end the round that runs, and then this process. Gives what is to be told of each round. */
function endedBySignals(): (round: Round | undefined) => void {
  let running: Round | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, async () => {
      await running?.end().catch(() => {});
      process.kill(process.pid, signal);
    });
  return (round) => {
    running = round;
  };
}

function nameOf(make: (scale: Scale) => Scenario): string {
  return make({ quick: true }).name;
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError("a number from 1 to 999");
  return Number(text);
}

function say(line: string, code = 0): number {
  process.stderr.write(`bench: ${line}\n`);
  return code;
}
