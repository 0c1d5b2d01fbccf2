// What the commands share: what they need from the process (main.ts gives the real one, tests their own), the exit codes,
// and where the configuration is.
import type { checkVersions } from "../app/version-checks.ts";
import type { App } from "../app.ts";
import type { Config } from "../config/config.ts";
import { type LoadResult, loadConfig } from "../config/load.ts";
import { quote } from "../config/problem.ts";
import { type ReadFile, readText } from "../config/read-text.ts";
import { configVariable } from "../config/settings.ts";
import type { Environment } from "../config/yaml.ts";
import type { DemoOptions } from "../demo/demo.ts";

/** Calls back at signals, with the signal's name, until the returned function is called. */
export type OnSignal = (listener: (name: string) => void) => () => void;

export interface Context {
  readonly version: string;
  readonly env: Environment;
  readonly readFile: ReadFile;
  /** Writes text as it is to the standard output, or to the standard error. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** SIGTERM and SIGINT. */
  readonly onSignal: OnSignal;
  /** SIGHUP, SIGUSR1 and SIGUSR2, which end nothing as long as they are listened to. */
  readonly onHarmlessSignal: OnSignal;
  /** The standard output when it is a terminal. */
  readonly outputTerminal?: { readonly colors: boolean } | undefined;
  /** The standard error when it is a terminal. */
  readonly terminal?: NodeJS.WritableStream | undefined;
  /** The standard input, to be read once; left out when it is a terminal. */
  readonly input?: (() => NodeJS.ReadableStream) | undefined;
  /** Asks the person at the terminal; left out when there is none, as where the command is piped. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** Bytes of memory the process may use, 0 or very many where nothing limits it; 0 when left out. */
  readonly memoryLimit?: number;
  /** Between two questions of `warm`: milliseconds; rejects when the signal aborts. Real time when left out. */
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  /** Makes the mirror; nothing runs before `start`. The one of app.ts when left out. */
  readonly build?: (config: Config) => App;
  /** One line for each upstream that does not answer as configured. The one of app/version-checks.ts when left out. */
  readonly checkVersions?: typeof checkVersions;
  /** Resolves to the exit code. The one of demo/demo.ts when left out. */
  readonly runDemo?: (options: DemoOptions) => Promise<number>;
}

export const exitCode = {
  /** Done; for `serve`: every transfer under way at the signal was finished. */
  done: 0,
  /** Failed to start, or transfers were cut. Of commands that ask a running mirror: what their --help says. */
  failed: 1,
  /**
   * The configuration or the command line is wrong: starting again will not help. Of commands that ask a running mirror: there
   * is no answer, be it that none runs, that it wants a login, or that the question is wrong.
   */
  usage: 2,
} as const;

/**
 * The configuration of --config (`option`), else of ENTREPOT_CONFIG, else of the environment alone. A file that cannot be
 * read is the only problem reported.
 */
export function loadFrom(option: string | undefined, { env, readFile }: Context): LoadResult {
  const variable = env[configVariable.env];
  const path = option ?? (variable === "" ? undefined : variable);
  if (path === undefined) return loadConfig({ env, readFile });
  const file = readText(path, readFile);
  if ("text" in file) return loadConfig({ file: { path, text: file.text }, env, readFile });
  const key = option === undefined ? configVariable.env : "--config";
  return {
    ok: false,
    problems: [{ key, message: `found ${quote(path)}, which cannot be read (${file.reason})` }],
  };
}
