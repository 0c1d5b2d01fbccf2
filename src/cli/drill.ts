// `entrepot drill`: for chosen clients every upstream counts as away for a while, on all nodes of a running mirror.
import { parseDuration } from "../config/units.ts";
import { duration } from "../ops/page/format.ts";
import { type DrillAnswer, longestDrill } from "../ports/datacenter/drill.ts";
import { type Context, exitCode } from "./context.ts";
import { askOps, noAnswer, type OpsChange, type OpsPlaceOptions, OpsRefusal, opsPlace } from "./ops-place.ts";

export interface DrillOptions extends OpsPlaceOptions {
  /** Addresses and networks, with commas between them. */
  readonly clients?: string;
  readonly for?: string;
  readonly stop?: true;
  readonly json?: true;
}

const path = "/api/v1/drill";
const usualDuration = "10m";

/**
 * Gives the exit code: 0 when what was asked for is done, 1 when there is no drill to stop, 2 for a wrong command line or
 * configuration and when no mirror answers.
 */
export async function drill(options: DrillOptions, context: Context): Promise<number> {
  const change = changeOf(options);
  if (typeof change === "string") {
    context.err(`entrepot: ${change}\n`);
    return exitCode.usage;
  }
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  try {
    const answer = (await askOps(place, path, undefined, change)) as DrillAnswer;
    context.out(options.json ? `${JSON.stringify(answer)}\n` : textOf(answer, options.stop === true));
    return exitCode.done;
  } catch (error) {
    context.err(`entrepot: ${noAnswer(error, place)}\n`);
    const isNone = options.stop === true && error instanceof OpsRefusal && error.status === 404;
    return isNone ? exitCode.failed : exitCode.usage;
  }
}

/** Undefined: only the state is asked for. Text says what is wrong with the command line. */
function changeOf({ clients, for: long, stop }: DrillOptions): OpsChange | undefined | string {
  if (stop === true)
    return clients === undefined && long === undefined
      ? { method: "DELETE" }
      : "drill: --stop goes with neither --clients nor --for";
  if (clients === undefined)
    return long === undefined ? undefined : "drill: --for needs --clients, the networks it is for";
  const parsed = parseDuration(long ?? usualDuration, { min: 1_000, max: longestDrill, forever: false });
  if (!("value" in parsed)) return `--for: found ${JSON.stringify(long)}, expected ${parsed.expected}`;
  const networks = clients.split(",").map((text) => text.trim());
  return { method: "POST", body: { clients: networks, durationMs: parsed.value } };
}

function textOf({ drill }: DrillAnswer, stopped: boolean): string {
  if (drill === null)
    return stopped ? "the drill is over; other nodes hear of it within five seconds\n" : "no drill is on\n";
  const { clients, startedAt, endsAt, node } = drill;
  return [
    `a drill is on for ${clients.join(", ")}: for them every upstream counts as away`,
    `since ${at(startedAt)}, until ${at(endsAt)} (${duration(endsAt - startedAt)}), asked for on ${node}; other nodes hear of it within five seconds`,
    "",
  ].join("\n");
}

function at(time: number): string {
  return new Date(time).toISOString();
}
