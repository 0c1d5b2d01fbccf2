// The resolved configuration as YAML for `entrepot check`: a file that can be given back with --config, except that
// it never holds a secret.
import { Document, isCollection, isMap, isNode, isScalar } from "yaml";
import { z } from "zod";
import type { Values } from "./config.ts";
import type { Loaded } from "./load.ts";
import { isListed } from "./rules.ts";
import { Secret } from "./secret.ts";
import { bareType, type Path, pathText, type Setting, settings, typeAt, valueAt } from "./settings.ts";
import type { Sources } from "./sources.ts";
import { formatText } from "./text-types.ts";

/** Sections in which nothing counts until something is set. */
const optionalSections = new Set(["s3", "redis", "influx", "notifications", "webhooks"]);

/** YAML with a comment on every line saying where the value came from. Secrets appear as comments only. */
export function renderConfig({ values, sources }: Pick<Loaded, "values" | "sources">): string {
  const listed = isListed(sources);
  const places = settings.flatMap(
    ({ path, ...setting }): { path: Path; setting: Omit<Setting, "path"> }[] => {
      const [section = "", ...rest] = path;
      if (section === "upstreams" || (optionalSections.has(section) && !isUsed(section, sources))) return [];
      if (section !== "upstream" || !listed) return [{ path, setting }];
      return (values.upstreams ?? []).map((_, index) => ({ path: ["upstreams", index, ...rest], setting }));
    },
  );
  const root = {};
  for (const { path } of places) {
    const written = writtenOf(path, values, sources);
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
  for (const [index, endpoint] of (values.notifications.endpoints ?? []).entries()) {
    const at = ["notifications", "endpoints", index];
    if (endpoint.url.search !== "") hide(at, "the URL's query: not shown");
    const names = Object.keys(endpoint.headers ?? {});
    if (names.length > 0) hide(at, `headers: not shown (${names.join(", ")})`);
  }
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
function writtenOf(path: Path, values: Values, sources: Sources): unknown {
  const { type, about } = typeAt(path) ?? {};
  const value = valueAt(values, path);
  if (about?.besides !== undefined && !sources.has([...path.slice(0, -1), about.besides])) return undefined;
  // A variable that is all the file says can be printed, whatever it holds.
  if (value instanceof Secret) return /^\$\{\w+\}$/.exec(sources.written(path) ?? "")?.[0];
  return type === undefined ? undefined : formatValue(value, type);
}

function formatValue(value: unknown, type: z.ZodType): unknown {
  if (value === undefined || value instanceof Secret) return undefined;
  if (type instanceof z.ZodArray) {
    const element = bareType(type.element as z.ZodType);
    return (value as unknown[]).map((item) => formatValue(item, element));
  }
  const fields =
    type instanceof z.ZodObject
      ? Object.entries(type.shape).map(([key, each]) => [key, bareType(each as z.ZodType)] as const)
      : type instanceof z.ZodRecord
        ? Object.keys(value as object).map((key) => [key, type.valueType as z.ZodType] as const)
        : undefined;
  if (fields === undefined) return formatText(type, value);
  const written = fields.map(([key, each]) => [key, formatValue(valueAt(value, [key]), each)] as const);
  const kept = written.filter(([, each]) => each !== undefined);
  return kept.length === 0 ? undefined : Object.fromEntries(kept);
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
