// `entrepot client-config`: the files that point clients at this mirror, and where they go.
import {
  type ClientName,
  clientNames,
  clientSetup,
  clientsWithLogin,
  isClient,
} from "../../client-config/clients.ts";
import {
  type ClientFile,
  type ClientMirror,
  ClientProblem,
  type ClientSetup,
  type ClientWishes,
} from "../../client-config/mirror.ts";
import { nearest } from "../../config/nearest.ts";
import { quote } from "../../config/problem.ts";
import { readText } from "../../config/read-text.ts";
import { type Context, exitCode } from "../context.ts";
import { type RequestedMirror, RequestProblem, requestedMirror } from "./requested-mirror.ts";
import { writeFiles } from "./write-files.ts";

export interface ClientConfigOptions extends RequestedMirror {
  readonly clientVersion?: string;
  /** False with --no-fallback. */
  readonly fallback: boolean;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly output?: string;
}

/** Prints the files, or writes them below a directory; gives the exit code. */
export async function clientConfig(
  names: readonly string[],
  options: ClientConfigOptions,
  context: Context,
): Promise<number> {
  try {
    const clients = clientsOf(names);
    const wishes = wishesOf(clients, options, context);
    const mirror = requestedMirror(options, clients, context);
    const setups = clients.map((client) => ({ client, ...setupOf(client, mirror, wishes) }));
    const found = setups.flatMap(({ setup }) => setup ?? []);
    const files = distinct(found.flatMap(({ files }) => files));
    if (options.output === undefined) context.out(found.length === 0 ? "" : printed(files));
    else if (!writeFiles(options.output, files, context)) return exitCode.failed;
    context.err(
      setups
        .map(({ client, setup, problem }) =>
          setup === undefined
            ? `${client}:\n  no file: ${problem?.replaceAll("\n", "\n  ")}\n`
            : advice(client, setup),
        )
        .join(""),
    );
    if (found.length === 0) return exitCode.usage;
    return found.length < setups.length ? exitCode.failed : exitCode.done;
  } catch (error) {
    if (!(error instanceof RequestProblem)) throw error;
    context.err(`entrepot: ${error.message}\n`);
    return exitCode.usage;
  }
}

/** Or why there is none for this client: the others have theirs all the same. */
function setupOf(
  client: ClientName,
  mirror: ClientMirror,
  wishes: ClientWishes,
): { readonly setup?: ClientSetup; readonly problem?: string } {
  try {
    return { setup: clientSetup(client, mirror, wishes) };
  } catch (error) {
    if (!(error instanceof ClientProblem)) throw error;
    return { problem: error.message };
  }
}

function clientsOf(names: readonly string[]): ClientName[] {
  return names.map((name) => {
    if (isClient(name)) return name;
    const near = nearest(name, clientNames);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    throw new RequestProblem(`there is no client ${quote(name)}${hint}\nclients: ${clientNames.join(", ")}`);
  });
}

function wishesOf(
  clients: readonly ClientName[],
  { fallback, clientVersion, username, passwordFile }: ClientConfigOptions,
  { readFile }: Context,
): ClientWishes {
  const version = clientVersion === undefined ? undefined : versionOf(clientVersion);
  if (version !== undefined && clients.length > 1)
    throw new RequestProblem("--client-version is that of one client: ask for one at a time");
  if (username === undefined && passwordFile === undefined) return { fallback, version };
  if (username === undefined || passwordFile === undefined)
    throw new RequestProblem("--username and --password-file go together");
  const without = clients.find((client) => !clientsWithLogin.includes(client));
  if (without !== undefined)
    throw new RequestProblem(
      `--username: no file of ${without} holds a login; without it the command says how ${without} logs in`,
    );
  if (username === "" || username.includes(":"))
    throw new RequestProblem(`--username: found ${quote(username)}, expected a name without a colon`);
  const read = readText(passwordFile, readFile);
  if ("reason" in read)
    throw new RequestProblem(
      `--password-file: found ${quote(passwordFile)}, which cannot be read (${read.reason})`,
    );
  const password = read.text.replace(/\r?\n$/, "");
  if (password === "" || /[\r\n]/.test(password))
    throw new RequestProblem("--password-file: expected one line with the password in it");
  return { fallback, version, login: { username, password } };
}

function versionOf(written: string): number[] {
  const [, numbers] = /^v?(\d{1,4}(?:\.\d{1,4}){0,2})(?:[-+~.].*)?$/.exec(written) ?? [];
  if (numbers === undefined)
    throw new RequestProblem(
      `--client-version: found ${quote(written)}, expected a version like 2.2 or 29.1.0`,
    );
  return numbers.split(".").map(Number);
}

/** The same file for two clients is one. */
function distinct(files: readonly ClientFile[]): ClientFile[] {
  return [...new Map(files.map((file) => [file.path, file])).values()];
}

/** One file as it is; of several each below its path. */
function printed(files: readonly ClientFile[]): string {
  const [only] = files;
  if (files.length === 1 && only !== undefined) return only.text;
  return files.map(({ path, text }) => `==> ${path} <==\n${text}`).join("\n");
}

function advice(client: ClientName, { files, restart, notes }: ClientSetup): string {
  const lines = [
    `${client}:`,
    ...files.map(({ path }) => `file: ${path}`),
    `then: ${restart}`,
    ...notes.map((note) => `note: ${note}`),
  ];
  return `${lines.join("\n  ").trimEnd()}\n`;
}
