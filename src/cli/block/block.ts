// `entrepot block`, `entrepot unblock` and `entrepot blocked`: digests that no node of the datacenter gives to anybody.
import type { BlockChange, BlocksReport } from "../../ops/block/block-report.ts";
import { count } from "../../ops/page/format.ts";
import { type Context, exitCode } from "../context.ts";
import { answerFrom, opsPlace } from "../ops-place.ts";
import { changeEach, type EachOptions } from "./change-each.ts";

export interface BlockOptions extends EachOptions {
  readonly reason: string;
}

const blocksPath = "/api/v1/blocks";

/**
 * Gives the exit code: 0 when all of them are blocked on every node, 1 when one is not, or a node has not confirmed it, 2 for a wrong
 * digest, command line or configuration and when no mirror answers: then the rest is not asked for.
 */
export async function block(
  digests: readonly string[],
  { reason, ...options }: BlockOptions,
  context: Context,
): Promise<number> {
  const change = (digest: string) => ({
    path: blocksPath,
    change: { method: "POST", body: { digest, reason } } as const,
  });
  return await changeEach("digest", digests, options, context, change, told("blocked"));
}

/** As `block`. */
export async function unblock(
  digests: readonly string[],
  options: EachOptions,
  context: Context,
): Promise<number> {
  const change = (digest: string) => ({
    path: `${blocksPath}?${new URLSearchParams({ digest })}`,
    change: { method: "DELETE" } as const,
  });
  return await changeEach("digest", digests, options, context, change, told("unblocked"));
}

const states: Readonly<Record<BlockChange["nodes"][number]["state"], string>> = {
  done: "done",
  told: "told",
  unconfirmed: "HAS NOT CONFIRMED IT; it does it when it hears of it",
  away: "IS AWAY; it does it when it is back",
};

function told(done: "blocked" | "unblocked") {
  return (answer: unknown): { readonly isDone: boolean; readonly text: string } => {
    const { digest, nodes, stillInFile } = answer as BlockChange;
    const ofFile =
      done === "unblocked" && stillInFile ? ["  it is still blocked here by the file of block.file"] : [];
    const lines = nodes.map(({ name, state }) => `  ${name}: ${states[state]}`);
    const isDone = ofFile.length === 0 && nodes.every(({ state }) => state === "done" || state === "told");
    return { isDone, text: [`${done} ${digest}`, ...lines, ...ofFile].join("\n") };
  };
}

/** Gives the exit code: 0, or 2 when no mirror answers or the configuration is wrong. */
export async function blocked(options: EachOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const report = (await answerFrom(place, blocksPath, context)) as BlocksReport | undefined;
  if (report === undefined) return exitCode.usage;
  if (options.json) context.out(`${JSON.stringify(report)}\n`);
  else {
    for (const { digest, reason, blockedAt, node } of report.blocks) {
      const since = blockedAt === null ? "by the file" : `${new Date(blockedAt).toISOString()} at ${node}`;
      context.out(`${digest}  ${since}: ${reason}\n`);
    }
    context.out(`${count(report.blocks.length, "blocked digest")}\n`);
  }
  return exitCode.done;
}
