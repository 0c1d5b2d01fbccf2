// The resolved configuration as YAML for `entrepot check`: a file that can be given back with --config, except that
// it never holds a secret.
import { Document, isCollection, isMap, isNode, isScalar } from "yaml";
import { z } from "zod";
import { Secret } from "../ports/secret.ts";
import type { Values } from "./config.ts";
import type { Loaded } from "./load.ts";
import { isListed } from "./rules.ts";
import { bareType, childOf, type Path, pathText, type Setting, settings, valueAt } from "./settings.ts";
import type { Sources } from "./sources.ts";
import { traits } from "./types/text-types.ts";

/** Sections in which nothing counts until something is set. */
const optionalSections = new Set(["s3", "redis", "influx", "otel", "notifications", "webhooks"]);

type Unplaced = Omit<Setting, "path">;

/** YAML with a comment on every line saying where the value came from. Secrets appear as comments only. */
export function renderConfig({ values, sources }: Pick<Loaded, "values" | "sources">): string {
  const listed = isListed(sources);
  const places = settings.flatMap(({ path, ...setting }): { path: Path; setting: Unplaced }[] => {
    const [section = "", ...rest] = path;
    if (section === "upstreams" || (optionalSections.has(section) && !isUsed(section, sources))) return [];
    if (section !== "upstream" || !listed) return [{ path, setting }];
    return values.upstreams.map((_, index) => ({ path: ["upstreams", index, ...rest], setting }));
  });
  const root = {};
  for (const { path, setting } of places) {
    const written = writtenOf(path, setting, values, sources);
    if (written !== undefined) put(root, path, written);
  }
  const document = new Document(root);
  const hidden = new Map<string, { readonly section: Path; readonly lines: string[] }>();
  const hide = (section: Path, line: string): void => {
    const key = pathText(section);
    const group = hidden.get(key) ?? { section, lines: [] };
    hidden.set(key, group);
    group.lines.push(` ${line}`);
  };
  for (const { path, setting } of places) {
    const node = document.getIn(path, true);
    if (isNode(node)) comment(node, path, setting.type, sources);
    else if (valueAt(values, path) instanceof Secret)
      hide(path.slice(0, -1), `${path.at(-1)}: not shown, from ${sources.origin(path)}`);
  }
  for (const { path } of places)
    if (hasAccount(valueAt(values, path)))
      hide(path.slice(0, -1), `the account of ${path.at(-1)}: not shown`);
  for (const [index, endpoint] of values.notifications.endpoints.entries()) {
    const at = ["notifications", "endpoints", index];
    if (endpoint.url.search !== "") hide(at, "the URL's query: not shown");
    const names = Object.keys(endpoint.headers);
    if (names.length > 0) hide(at, `headers: not shown (${names.join(", ")})`);
  }
  const otelHeaders = Object.keys(values.otel.headers);
  if (otelHeaders.length > 0) hide(["otel"], `headers: not shown (${otelHeaders.join(", ")})`);
  for (const { section, lines } of hidden.values()) {
    const map = document.getIn(section, true);
    if (isMap(map)) map.comment = lines.join("\n");
  }
  return document.toString({ lineWidth: 0 });
}

function isUsed(section: string, sources: Sources): boolean {
  return settings.some(({ path }) => path[0] === section && sources.has(path));
}

/** As the file would have it; undefined where there is nothing to print. */
function writtenOf(path: Path, { type, besides }: Unplaced, values: Values, sources: Sources): unknown {
  const value = valueAt(values, path);
  if (besides !== undefined && !sources.has([...path.slice(0, -1), besides])) return undefined;
  // A variable that is all the file says can be printed, whatever it holds.
  const variable = /^\$\{\w+\}$/.exec(sources.written(path) ?? "")?.[0];
  if (value instanceof Secret || hasAccount(value)) return variable ?? formatValue(value, type);
  const written = formatValue(value, type);
  return written === undefined && Array.isArray(value) && sources.has(path) ? [] : written;
}

/** A value as the file would have it; undefined for secrets and for what has nothing else in it. */
export function formatValue(value: unknown, type: z.ZodType): unknown {
  if (value === undefined || value instanceof Secret) return undefined;
  if (type instanceof z.ZodArray) {
    const items = (value as unknown[]).map((item) => formatValue(item, bareType(type.element as z.ZodType)));
    return items.length === 0 ? undefined : items;
  }
  if (!(type instanceof z.ZodObject || type instanceof z.ZodRecord)) {
    const format = traits.get(type)?.format;
    return format === undefined ? value : format(value as never);
  }
  const fields = Object.entries(value as object).map(([key, each]) => {
    const below = childOf(type, key);
    return [key, below && formatValue(each, below)] as const;
  });
  const kept = fields.filter(([, each]) => each !== undefined);
  return kept.length === 0 ? undefined : Object.fromEntries(kept);
}

/** Whether the value is a proxy with an account. */
function hasAccount(value: unknown): boolean {
  return typeof value === "object" && value !== null && "password" in value && value.password !== undefined;
}

function put(root: object, path: Path, value: unknown): void {
  let at = root as Record<string | number, unknown>;
  for (const [index, step] of path.slice(0, -1).entries()) {
    at[step] ??= typeof path[index + 1] === "number" ? [] : {};
    at = at[step] as Record<string | number, unknown>;
  }
  at[path.at(-1) as string] = value;
}

/** Where the value came from. Lists of mappings read better with one on a line, which leaves no line for it. */
function comment(node: { comment?: string | null }, path: Path, type: z.ZodType, sources: Sources): void {
  if (type instanceof z.ZodArray && bareType(type.element as z.ZodType) instanceof z.ZodObject) return;
  if (isCollection(node) && !isScalar(node)) node.flow = true;
  node.comment = ` ${sources.origin(path) ?? "default"}`;
}
