// Settings from environment variables.
import type { Entry, Input, Source } from "./entry.ts";
import { nearest } from "./nearest.ts";
import type { Problem } from "./problem.ts";
import { configVariable, type SettingKey, settingKeys, settingOf } from "./settings.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const prefix = "ENTREPOT_";

/**
 * Kubernetes tells every container of a namespace about every Service, and Docker's links do the same: a Service
 * called `entrepot` or `entrepot-ops` brings these, and nobody set them by hand.
 */
const serviceLinks = [
  /_SERVICE_HOST$/,
  /_SERVICE_PORT(?:_[A-Z0-9_]+)?$/,
  /_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/,
];
const serviceUrl = /^(?:tcp|udp|sctp):\/\//;

function isServiceLink(name: string, value: string): boolean {
  if (serviceLinks.some((pattern) => pattern.test(name))) return true;
  return name.endsWith("_PORT") && serviceUrl.test(value);
}

function unknownVariable(name: string, known: readonly string[]): Problem {
  const near = suggest(name.slice(prefix.length), known);
  const hint = near === undefined ? "see entrepot --help for the names" : `did you mean ${near}?`;
  return { key: name, message: `there is no such setting; ${hint}` };
}

/** A longer name with the same end (`URL` for `UPSTREAM_URL`), else the one that is spelt most alike. */
function suggest(name: string, known: readonly string[]): string | undefined {
  const longer = known.find((each) => each.endsWith(`_${name}`));
  const near = nearest(
    name,
    known.map((each) => each.slice(prefix.length)),
  );
  return longer ?? (near === undefined ? undefined : prefix + near);
}

/** Items separated by commas; empty ones are none. */
function itemsOf(text: string): Input {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

/**
 * Every setting the environment has. A variable that is set but empty counts as not set: that is what
 * `${NAME:-}` in a compose file gives. An unknown ENTREPOT_ variable is a problem, its value is never shown.
 */
export function readEnvironment(env: Environment): Source {
  const entries = new Map<SettingKey, Entry>();
  const known: string[] = [configVariable.env];
  for (const key of settingKeys) {
    const { env: name, form } = settingOf(key);
    if (name === undefined) continue;
    known.push(name);
    const text = env[name];
    if (text !== undefined && text !== "")
      entries.set(key, { input: form === "list" ? itemsOf(text) : text, label: name });
  }
  const problems = Object.entries(env)
    .filter(
      ([name, value]) =>
        name.startsWith(prefix) && !known.includes(name) && !isServiceLink(name, value ?? ""),
    )
    .map(([name]) => unknownVariable(name, known));
  return { entries, problems };
}
