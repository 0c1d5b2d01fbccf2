// `entrepot purge`: deletes a tag, an image or a repository from the caches of all nodes, after it has shown what goes.
import { count, size } from "../ops/page/format.ts";
import type { PurgeReport } from "../ops/purge/purge-report.ts";
import { type Context, exitCode } from "./context.ts";
import { askOps, noAnswer, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export interface PurgeOptions extends OpsPlaceOptions {
  readonly dryRun?: true;
  readonly yes?: true;
  readonly force?: true;
  readonly json?: true;
}

/** Milliseconds for what would go, and for doing it. */
const planPatience = 60_000;
const patience = 180_000;

const path = "/api/v1/purge";

/**
 * Gives the exit code: 0 when it is done, or with --dry-run told; 1 when something could not be reached, or the user has said no; 2
 * for a wrong reference, command line or configuration, for what pinned images need, and when no mirror answers.
 */
export async function purge(reference: string, options: PurgeOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const { dryRun, yes, force = false, json } = options;
  const ask = async (dryRun: boolean, patience: number): Promise<PurgeReport> => {
    const body = { reference, dryRun, force };
    return (await askOps(place, path, patience, { method: "POST", body })) as PurgeReport;
  };
  const show = (report: PurgeReport): void => {
    // Where a person is asked, what is asked about has to be seen.
    if (json !== true) context.out(`${linesOf(report).join("\n")}\n`);
    else if (dryRun !== true && yes !== true && context.ask !== undefined)
      context.err(`${linesOf(report).join("\n")}\n`);
  };
  try {
    const planned = await ask(true, planPatience);
    show(planned);
    if (dryRun === true) {
      if (json === true) context.out(`${JSON.stringify(planned)}\n`);
      return exitCode.done;
    }
    if (planned.pinnedBy.length > 0 && !force) {
      context.err(`entrepot: pinned images need some of it (${planned.pinnedBy.join(", ")}): see --force\n`);
      return exitCode.usage;
    }
    if (
      yes !== true &&
      context.ask !== undefined &&
      !/^y(es)?$/i.test(await context.ask("Purge it? [y/N] "))
    ) {
      context.err("entrepot: nothing was purged\n");
      return exitCode.failed;
    }
    const done = await ask(false, patience);
    context.out(json === true ? `${JSON.stringify(done)}\n` : `${nodeLines(done).join("\n")}\n`);
    return done.nodes.some(({ state }) => state === "partly") ? exitCode.failed : exitCode.done;
  } catch (error) {
    context.err(`entrepot: ${noAnswer(error, place)}\n`);
    return exitCode.usage;
  }
}

function linesOf(report: PurgeReport): string[] {
  const { tags, goes, stays, sums, truncated, s3, pinnedBy } = report;
  const cut = (listed: number, all: number) => (all > listed ? [`       and ${all - listed} more`] : []);
  const stayed =
    sums.staysParts === 0 ? "" : `; ${count(sums.staysParts, "part")} of it stay, ${size(sums.staysBytes)}`;
  return [
    nameOf(report),
    ...tags.map(({ upstream, repository, tag, digest }) =>
      `goes   tag ${upstream}/${repository}:${tag} ${digest ?? ""}`.trimEnd(),
    ),
    ...cut(tags.length, sums.tags),
    ...goes.map((part) => `goes   ${partText(part)}${part.here ? "" : ", not here"}`),
    ...stays.map((part) => `stays  ${partText(part)}: ${part.why}`),
    ...(truncated ? ["       and more: purge it again for the rest"] : []),
    ...(tags.length + goes.length + stays.length === 0 ? ["nothing of it is known here"] : []),
    `frees ${size(sums.bytes)} here: ${count(sums.images, "manifest")}, ${count(sums.layers, "layer")}${s3 ? ", and what S3 has of it" : ""}${stayed}`,
    ...(pinnedBy.length === 0 ? [] : [`pinned: ${pinnedBy.join(", ")}`]),
    ...nodeLines(report),
  ];
}

function nameOf({ kind, upstream, repository, tag, digest, chosenBy }: PurgeReport): string {
  if (upstream === null || repository === null) return `purge of ${digest} in all repositories`;
  const what = kind === "tag" ? `:${tag}` : kind === "image" ? `@${digest}` : ", the whole repository";
  return `purge of ${repository}${what} from ${upstream}, for ${chosenBy}`;
}

function partText({ role, digest, sizeBytes }: PurgeReport["goes"][number]): string {
  return `${role} ${digest}${sizeBytes === null ? "" : `  ${size(sizeBytes)}`}`;
}

function nodeLines({ nodes }: PurgeReport): string[] {
  return nodes.map(({ name, state, parts, bytes }) => {
    const what = parts === null || bytes === null ? "" : `, ${count(parts, "part")}, ${size(bytes)}`;
    return `node ${name}: ${nodeStates[state]}${what}`;
  });
}

const nodeStates: Readonly<Record<PurgeReport["nodes"][number]["state"], string>> = {
  planned: "to be done",
  done: "done",
  partly: "not all of it could be reached, it is tried again",
  away: "away, and does it when it is back",
  told: "told of it",
};
