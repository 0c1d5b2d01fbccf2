// Runs one scenario for a number of rounds. A failure ends it and is told; the other scenarios still run.
import { available } from "../system/fixtures/requires.ts";
import type { Places } from "./machine.ts";
import type { Peer } from "./peer.ts";
import { rowsOf, type ScenarioReport } from "./report.ts";
import { Round } from "./round.ts";
import type { Sample, Scenario } from "./scenario.ts";

export interface RunOptions {
  readonly rounds: number;
  readonly peers: readonly Peer[];
  readonly places: Places;
  /** Told before each round. */
  readonly say: (line: string) => void;
  /** The round that runs now, for whoever must end it early; undefined between two. */
  readonly onRound: (round: Round | undefined) => void;
}

/** The names of the programs that are not here. */
export function missingPrograms(scenario: Scenario): readonly string[] {
  return ["taskset", "setpriv", "nginx", ...(scenario.programs ?? [])].filter(
    (program) => !available(program),
  );
}

/** Never rejects. */
export async function runScenario(scenario: Scenario, options: RunOptions): Promise<ScenarioReport> {
  const { name, title } = scenario;
  const unable = scenario.unable?.();
  if (unable !== undefined)
    return { name, title, result: "skipped", reason: unable, rounds: 0, checks: 0, rows: [] };
  const samples: (readonly Sample[])[] = [];
  let checks = 0;
  let failure: string | undefined;
  const rounds = Math.min(options.rounds, scenario.mostRounds ?? options.rounds);
  for (let number = 1; number <= rounds && failure === undefined; number++) {
    options.say(`${name}: round ${number} of ${rounds}`);
    const round = new Round({ number, peers: options.peers, places: options.places });
    options.onRound(round);
    failure = await runRound(scenario, round, samples);
    await round.end().catch((error: unknown) => {
      failure ??= `cleaning up: ${describe(error)}`;
    });
    options.onRound(undefined);
    checks += round.checks;
  }
  const report = { name, title, rounds: samples.length, checks, rows: rowsOf(scenario, samples) };
  return failure === undefined
    ? { ...report, result: "passed" }
    : { ...report, result: "failed", reason: failure };
}

/** Adds the samples, and gives what went wrong. */
async function runRound(
  scenario: Scenario,
  round: Round,
  samples: (readonly Sample[])[],
): Promise<string | undefined> {
  try {
    samples.push(await scenario.run(round));
    return undefined;
  } catch (error) {
    return describe(error);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
