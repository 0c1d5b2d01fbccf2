// `entrepot doctor`: looks at everything between the configuration and a pull, and names the hop that fails.
import type { Config } from "../config/config.ts";
import { type LoadResult, loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import { parseImageName, referenceOf } from "../oci/image-name.ts";
import { doubtsOf } from "./check.ts";
import { type Context, exitCode, loadFrom } from "./context.ts";
import { askOps, isMirror, type OpsPlace, OpsRefusal, opsPlace } from "./ops-place.ts";
import { trustSystemAuthorities } from "./system-authorities.ts";

export interface DoctorFlags {
  readonly config?: string;
  readonly image?: string;
  readonly upstream?: string;
  /** URL of a mirror that this machine is a client of. */
  readonly client?: string;
  readonly json?: boolean;
}

/** Milliseconds in which a mirror beside this command has to say that it is there. */
const mirrorTimeout = 2_000;

/** Prints every check; gives the exit code. */
export async function doctor(flags: DoctorFlags, context: Context): Promise<number> {
  const time = new Date();
  const { formatPart, formatSummary, reportOf } = await import("../doctor/report.ts");
  const loaded =
    flags.client === undefined ? loadFrom(flags.config, context) : clientConfig(flags.client, context);
  const told = (checks: Parameters<typeof formatPart>[0]): void => {
    if (flags.json !== true) context.out(formatPart(checks));
  };
  if (!loaded.ok) {
    const checks = loaded.problems.map(
      (problem) =>
        ({
          part: "configuration",
          name: "settings",
          outcome: "failed",
          seen: formatProblem(problem),
          fix: "Correct it; entrepot check says more. Nothing else was looked at.",
        }) as const,
    );
    told(checks);
    if (flags.json === true) context.out(`${JSON.stringify(reportOf(checks, context.version, time))}\n`);
    return exitCode.usage;
  }
  const wrong = wrongFlags(flags, loaded.config);
  if (wrong !== undefined) {
    context.err(`entrepot: ${wrong}\n`);
    return exitCode.usage;
  }
  trustSystemAuthorities();
  const ending = new AbortController();
  const release = context.onSignal(() => ending.abort());
  try {
    const { examineClient, examineNode } = await import("../doctor/doctor.ts");
    const { image, upstream } = flags;
    const { signal } = ending;
    const checks =
      flags.client === undefined
        ? await examineNode(
            loaded.config,
            {
              image,
              upstream,
              mirrorRuns: await mirrorAnswers(opsPlace({ ...flags }, { ...context, err: () => {} })),
              warnings: doubtsOf(loaded),
              signal,
            },
            told,
          )
        : await examineClient(loaded.config.upstreams[0], { image, signal }, told);
    const report = reportOf(checks, context.version, time);
    context.out(flags.json === true ? `${JSON.stringify(report)}\n` : formatSummary(checks));
    return report.outcome === "failed" || signal.aborted ? exitCode.failed : exitCode.done;
  } finally {
    release();
  }
}

function wrongFlags(
  { client, config, upstream, image }: DoctorFlags,
  { upstreams }: Config,
): string | undefined {
  if (client !== undefined && (config !== undefined || upstream !== undefined))
    return "--client looks at a mirror from outside: --config and --upstream do not go with it";
  if (upstream !== undefined && !upstreams.some(({ name }) => name === upstream))
    return `--upstream: there is no ${JSON.stringify(upstream)}, but ${upstreams.map(({ name }) => name).join(", ")}`;
  if (image !== undefined && !isImage(image))
    return `--image: found ${JSON.stringify(image)}, expected [upstream/]repository:tag or @digest`;
  return undefined;
}

function isImage(text: string): boolean {
  const name = parseImageName(text);
  return name !== undefined && referenceOf(name) !== undefined;
}

/** Whether a mirror answers where the settings have their ops listener, be it that it wants a login: others may, too. */
async function mirrorAnswers(place: OpsPlace | undefined): Promise<boolean> {
  if (place === undefined) return false;
  try {
    const { name } = ((await askOps(place, "/api/v1/node", mirrorTimeout)) ?? {}) as {
      readonly name?: unknown;
    };
    return typeof name === "string";
  } catch (error) {
    return error instanceof OpsRefusal && (await isMirror(place, mirrorTimeout));
  }
}

const clientSettings = /^ENTREPOT_UPSTREAM_(?:TLS_CA|(?:NO_)?PROXY)$|^(?:https?|no|all)_proxy$/i;
const accountSettings = /^ENTREPOT_UPSTREAM_(?:USERNAME|PASSWORD|PASSWORD_FILE)$/;

/**
 * The mirror as a client sees it: an upstream, with the account and authority the environment names for one, and the proxies
 * every program knows. Where a mirror sends clients for a blob may be in their own network. An account beside the URL of
 * another origin is that one's, as in the environment of a mirror, and is not shown to this one; nor is any to a URL without a
 * scheme.
 */
function clientConfig(url: string, { env, readFile }: Context): LoadResult {
  const { ENTREPOT_UPSTREAM_URL: upstream = url } = env;
  const hasScheme = /^https?:\/\//.test(url);
  const isItsOwn = hasScheme && URL.canParse(upstream) && new URL(upstream).origin === new URL(url).origin;
  const own = Object.entries(env).filter(
    ([name]) => clientSettings.test(name) || (isItsOwn && accountSettings.test(name)),
  );
  return loadConfig({
    env: {
      ...Object.fromEntries(own),
      ENTREPOT_UPSTREAM_NAME: "mirror",
      ENTREPOT_UPSTREAM_URL: hasScheme ? url : `http://${url}`,
      ENTREPOT_UPSTREAM_REDIRECTS_TO: "0.0.0.0/0,::/0",
    },
    readFile,
  });
}
