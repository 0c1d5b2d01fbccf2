// Settings from environment variables.
import { z } from "zod";
import { nearest } from "./nearest.ts";
import { bareType, configVariable, settings, variablePrefix } from "./settings.ts";
import type { Sources } from "./sources.ts";
import { type Environment, readJsonVariable } from "./yaml.ts";

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

/**
 * Puts every setting the environment has on top of `sources`. A variable that is set but empty counts as not set: that
 * is what `${NAME:-}` in a compose file gives. An unknown ENTREPOT_ variable is a problem, its value is never shown.
 */
export function readEnvironment(env: Environment, sources: Sources): void {
  const known: string[] = [configVariable.env];
  for (const { env: short, path, type } of settings) {
    if (short === undefined) continue;
    const name = variablePrefix + short;
    known.push(name);
    const text = env[name];
    if (text === undefined || text === "") continue;
    const isList = type instanceof z.ZodArray;
    const isJson = isList && bareType(type.element as z.ZodType) instanceof z.ZodObject;
    const input = isJson ? readJsonVariable(name, text, path, sources) : isList ? itemsOf(text) : text;
    if (input !== undefined) sources.set(path, input, name);
  }
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith(variablePrefix) && !known.includes(name) && !isServiceLink(name, value ?? "")) {
      const near = suggest(name.slice(variablePrefix.length), known);
      const hint = near === undefined ? "see entrepot --help for the names" : `did you mean ${near}?`;
      sources.problems.push({ key: name, message: `there is no such setting; ${hint}` });
    }
  }
}

function isServiceLink(name: string, value: string): boolean {
  if (serviceLinks.some((pattern) => pattern.test(name))) return true;
  return name.endsWith("_PORT") && serviceUrl.test(value);
}

/** A longer name with the same end (`URL` for `UPSTREAM_URL`), an upstream's first, else the one that is spelt most alike. */
function suggest(name: string, known: readonly string[]): string | undefined {
  const longer =
    known.find((each) => each === `${variablePrefix}UPSTREAM_${name}`) ??
    known.find((each) => each.endsWith(`_${name}`));
  const near = nearest(
    name,
    known.map((each) => each.slice(variablePrefix.length)),
  );
  return longer ?? (near === undefined ? undefined : variablePrefix + near);
}

/** Items separated by commas; empty ones are none. */
function itemsOf(text: string): string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}
