// `entrepot why`: what a running mirror has of one image, in a terminal.
import { formatAddress, formatListenPlace } from "../config/address.ts";
import { formatProblems } from "../config/problem.ts";
import { duration, size } from "../ops/page/format.ts";
import type { ExplainedPart, Explanation } from "../ops/stats/stats-document.ts";
import { type Context, exitCode, loadFrom } from "./context.ts";

export interface WhyOptions {
  readonly config?: string;
  /** Origin of the mirror's ops listener; that of the configuration when left out. */
  readonly ops?: string;
}

/** Milliseconds for the whole answer. */
const timeout = 15_000;

/** Prints the answer; gives the exit code: 1 when no mirror answers, 2 for what is no reference or configuration. */
export async function why(reference: string, options: WhyOptions, context: Context): Promise<number> {
  const origin = originOf(options, context);
  if (origin === undefined) return exitCode.usage;
  const explanation = await ask(origin, reference, context);
  if (explanation === undefined) return exitCode.failed;
  if (explanation.kind === "unreadable") {
    context.err(`entrepot: ${JSON.stringify(explanation.reference)}: ${explanation.reason}\n`);
    return exitCode.usage;
  }
  context.out(`${linesOf(explanation).join("\n")}\n`);
  return exitCode.done;
}

/** Undefined, and a message on the standard error, when it cannot be known. */
function originOf({ ops, config }: WhyOptions, context: Context): string | undefined {
  if (ops !== undefined) {
    const origin = /^https?:\/\//.test(ops) ? ops : `http://${ops}`;
    if (URL.canParse(origin)) return origin;
    context.err(`entrepot: --ops: found ${JSON.stringify(ops)}, expected an address like 127.0.0.1:5001\n`);
    return undefined;
  }
  const loaded = loadFrom(config, context);
  if (!loaded.ok) {
    context.err(formatProblems(loaded.problems));
    return undefined;
  }
  const { opsListen } = loaded.config;
  if (!("host" in opsListen)) {
    context.err(
      `entrepot: opsListen is ${formatListenPlace(opsListen)}: say where it is reached with --ops\n`,
    );
    return undefined;
  }
  const { host, port } = opsListen;
  // The wildcard addresses are for listening only.
  const reachable = host === "0.0.0.0" || host === "" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${formatAddress({ host: reachable, port })}`;
}

async function ask(origin: string, reference: string, context: Context): Promise<Explanation | undefined> {
  const url = new URL("/explain.json", origin);
  url.searchParams.set("reference", reference);
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(timeout) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return (await answer.json()) as Explanation;
  } catch (error) {
    const { cause = error } = error as Error;
    context.err(`entrepot: no mirror answers at ${url.origin} (${(cause as Error).message})\n`);
    return undefined;
  }
}

function linesOf(explanation: Explanation & { kind: "explained" }): string[] {
  const { upstream, repository, reference, summary, tag, at, parts, truncated } = explanation;
  const name = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
  return [
    `${name} from ${upstream}: ${summary}`,
    ...(tag === null ? [] : [`tag: ${tag.state}, checked ${duration(at - tag.checkedAt)} ago`]),
    ...parts.map((part) => lineOf(part, at)),
    ...(truncated ? ["and more"] : []),
  ];
}

function lineOf(part: ExplainedPart, now: number): string {
  const { digest, kind, depth, state, where, sizeBytes, usedAt, linked, repositories } = part;
  const facts = [
    sizeBytes === null ? undefined : size(sizeBytes),
    where.join(" ") || undefined,
    usedAt === null ? undefined : `used ${duration(now - usedAt)} ago`,
    linked ? undefined : "not linked to this repository",
    repositories.length > 1 ? `in ${repositories.join(" ")}` : undefined,
  ];
  const indent = "  ".repeat(depth);
  return `${state.padEnd(8)}${indent}${kind} ${digest}  ${facts.filter((fact) => fact !== undefined).join(", ")}`.trimEnd();
}
