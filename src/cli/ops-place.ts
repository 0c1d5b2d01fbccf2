// Where a command finds the ops listener of a running mirror, and what it shows there: a password or a token, from the
// configuration or the environment. Never from the command line, which every user of the machine can read.
import { formatAddress, formatListenPlace } from "../config/address.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { type Context, loadFrom } from "./context.ts";

export interface OpsPlaceOptions {
  readonly config?: string;
  /** Origin of the mirror's ops listener; that of the configuration when left out. */
  readonly ops?: string;
}

export interface OpsPlace {
  readonly origin: string;
  readonly access: Config["opsAccess"];
}

/** Milliseconds for the whole answer. */
const timeout = 15_000;

/** Settings that count although the address is given on the command line. */
const ownSettings = /^ENTREPOT_OPS_(?:ACCESS|TLS)_/;

/** Undefined, and a message on the standard error, when it cannot be known. */
export function opsPlace(options: OpsPlaceOptions, context: Context): OpsPlace | undefined {
  const { ops } = options;
  if (ops === undefined) return configuredPlace(options.config, context);
  const origin = /^https?:\/\//.test(ops) ? ops : `http://${ops}`;
  if (!URL.canParse(origin)) {
    context.err(`entrepot: --ops: found ${JSON.stringify(ops)}, expected an address like 127.0.0.1:5001\n`);
    return undefined;
  }
  const loaded = options.config === undefined ? fromEnvironment(context) : loadFrom(options.config, context);
  if (loaded.ok) return { origin: new URL(origin).origin, access: loaded.config.opsAccess };
  context.err(formatProblems(loaded.problems));
  return undefined;
}

function configuredPlace(config: string | undefined, context: Context): OpsPlace | undefined {
  const loaded = loadFrom(config, context);
  if (!loaded.ok) {
    context.err(formatProblems(loaded.problems));
    return undefined;
  }
  const { opsListen, opsAccess } = loaded.config;
  if (!("host" in opsListen)) {
    context.err(
      `entrepot: opsListen is ${formatListenPlace(opsListen)}: say where it is reached with --ops\n`,
    );
    return undefined;
  }
  const { host, port } = opsListen;
  // The wildcard addresses are for listening only.
  const reachable = host === "0.0.0.0" || host === "" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return { origin: `http://${formatAddress({ host: reachable, port })}`, access: opsAccess };
}

/** What the environment says of the ops listener. Of the registries, without which there is no configuration, it takes none. */
function fromEnvironment({ env, readFile }: Context) {
  const own = Object.entries(env).filter(([name]) => ownSettings.test(name));
  return loadConfig({
    env: { ...Object.fromEntries(own), ENTREPOT_UPSTREAM_URL: "http://localhost" },
    readFile,
  });
}

/** The JSON at a path of the ops listener. Rejects with why there is none. */
export async function askOps({ origin, access }: OpsPlace, path: string): Promise<unknown> {
  const authorization = await authorizationOf(access);
  const answer = await fetch(new URL(path, origin), {
    ...(authorization === undefined ? {} : { headers: { authorization } }),
    redirect: "error",
    signal: AbortSignal.timeout(timeout),
  });
  if (answer.ok) return await answer.json();
  const asks = [401, 403].includes(answer.status) ? ": set ENTREPOT_OPS_ACCESS_PASSWORD_FILE" : "";
  throw new Error(`status ${answer.status}${asks}`);
}

async function authorizationOf(access: Config["opsAccess"]): Promise<string | undefined> {
  if (access?.token !== undefined) return `Bearer ${(await access.token.read()).reveal()}`;
  if (access?.password === undefined) return undefined;
  const password = (await access.password.read()).reveal();
  return `Basic ${Buffer.from(`${access.username ?? "entrepot"}:${password}`).toString("base64")}`;
}
