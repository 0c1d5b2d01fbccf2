// The schema walked: every key by its path, and what is known of it.
import { z } from "zod";
import { type About, abouts, schema } from "./schema.ts";

/** Keys and, of lists, indexes from the root of the configuration. */
export type Path = readonly (string | number)[];

/** A key that takes a value. */
export interface Setting extends About {
  /** `upstream.tls.ca`; those of an upstream stand below `upstream`, wherever the upstream stands. */
  readonly key: string;
  readonly path: readonly string[];
  readonly type: z.ZodType;
}

export const variablePrefix = "ENTREPOT_";

/** Names the file itself; the same as `--config`. */
export const configVariable = {
  env: `${variablePrefix}CONFIG`,
  description: "Path of the YAML file, like --config; without either, only the environment counts",
} as const;

/** In the order of the schema. */
export const settings: readonly Setting[] = settingsOf(schema, []);

function settingsOf(type: z.ZodObject, path: readonly string[]): Setting[] {
  return Object.entries(type.shape).flatMap(([name, each]): Setting | Setting[] => {
    const below = [...path, name];
    const about = abouts.get(each as z.ZodType);
    const bare = bareType(each as z.ZodType);
    if (about === undefined && bare instanceof z.ZodObject) return settingsOf(bare, below);
    return { ...about, key: below.join("."), path: below, type: bare };
  });
}

/** The type without what says that it may be left out. */
export function bareType(type: z.ZodType): z.ZodType {
  return type instanceof z.ZodOptional || type instanceof z.ZodPrefault || type instanceof z.ZodNonOptional
    ? bareType(type.unwrap() as z.ZodType)
    : type;
}

/** The type of what stands at `path`, and what is known of it or of the nearest key above; undefined for no such key. */
export function typeAt(path: Path): { readonly type: z.ZodType; readonly about: About } | undefined {
  let type: z.ZodType = schema;
  let about: About = {};
  for (const step of path) {
    const child = childOf(type, step);
    if (child === undefined) return undefined;
    about = abouts.get(child) ?? about;
    type = bareType(child);
  }
  return { type, about };
}

function childOf(type: z.ZodType, step: string | number): z.ZodType | undefined {
  if (type instanceof z.ZodArray) return type.element as z.ZodType;
  if (type instanceof z.ZodRecord) return type.valueType as z.ZodType;
  if (!(type instanceof z.ZodObject) || !Object.hasOwn(type.shape, step)) return undefined;
  return type.shape[step] as z.ZodType;
}

/** `upstreams[0].tls.ca`. */
export function pathText(path: Path): string {
  return path.reduce<string>(
    (text, step) => (typeof step === "number" ? `${text}[${step}]` : text === "" ? step : `${text}.${step}`),
    "",
  );
}

/** The value at a path of nested mappings and lists; undefined where there is none. */
export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, step) =>
      typeof value === "object" && value !== null
        ? (value as Record<string | number, unknown>)[step]
        : undefined,
    root,
  );
}
