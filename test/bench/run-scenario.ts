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
  const reason = scenario.unable?.();
  if (reason !== undefined) return { name, title, result: "skipped", reason, rounds: 0, checks: 0, rows: [] };
  const samples: (readonly Sample[])[] = [];
  let checks = 0;
  const report = (): Pick<ScenarioReport, "name" | "title" | "rounds" | "checks" | "rows"> => ({
    name,
    title,
    rounds: samples.length,
    checks,
    rows: rowsOf(scenario, samples),
  });
  for (let number = 1; number <= options.rounds; number++) {
    options.say(`${name}: round ${number} of ${options.rounds}`);
    const round = new Round({ number, peers: options.peers, places: options.places });
    options.onRound(round);
    try {
      samples.push(await scenario.run(round));
    } catch (error) {
      return { ...report(), result: "failed", reason: describe(error) };
    } finally {
      checks += round.checks;
      options.onRound(undefined);
      await round.end().catch((error: unknown) => options.say(`${name}: cleaning up: ${describe(error)}`));
    }
  }
  return { ...report(), result: "passed" };
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
