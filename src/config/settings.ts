// The schema walked: every key by its path, and what is known of it.
import { z } from "zod";
import { type About, abouts, schema } from "./schema.ts";

/** Keys and, of lists, indexes from the root of the configuration. */
export type Path = readonly (string | number)[];

/** A key that takes a value. */
export interface Setting extends Omit<About, "env"> {
  /** `upstream.tls.ca`; those of an upstream stand below `upstream`, wherever the upstream stands. */
  readonly key: string;
  readonly path: readonly string[];
  readonly type: z.ZodType;
  /** After `ENTREPOT_`; undefined for what only the file can say. */
  readonly env: string | undefined;
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
    if (about !== undefined)
      return { ...about, key: below.join("."), path: below, type: bare, env: variableOf(about, below) };
    return bare instanceof z.ZodObject ? settingsOf(bare, below) : [];
  });
}

/** `UPSTREAM_MAX_CONNECTIONS` for `upstream.maxConnections`, unless the schema says another. */
function variableOf({ env }: About, path: readonly string[]): string | undefined {
  if (env === false) return undefined;
  return env ?? path.join("_").replace(/[A-Z]/g, "_$&").toUpperCase();
}

/** The type without what says that it may be left out. */
export function bareType(type: z.ZodType): z.ZodType {
  const mayBeLeftOut = [z.ZodOptional, z.ZodPrefault, z.ZodDefault, z.ZodNonOptional];
  const isWrapped = mayBeLeftOut.some((wrapper) => type instanceof wrapper);
  return isWrapped ? bareType((type as z.ZodOptional<z.ZodType>).unwrap()) : type;
}

/** The type of what stands at `path`; undefined for no such key. */
export function typeAt(path: Path): z.ZodType | undefined {
  return path.reduce<z.ZodType | undefined>((type, step) => type && childOf(type, step), schema);
}

/** Every text in what was set, with its path and type. */
export function* textsIn(
  input: unknown,
  type: z.ZodType = schema,
  path: Path = [],
): Generator<{ readonly path: Path; readonly type: z.ZodType; readonly text: string }> {
  if (typeof input === "string") yield { path, type, text: input };
  else
    for (const [step, each] of Array.isArray(input) ? input.entries() : Object.entries(input ?? {})) {
      const child = childOf(type, step);
      if (child !== undefined) yield* textsIn(each, child, [...path, step]);
    }
}

/** The type below one step of a path; undefined for no such key. */
export function childOf(type: z.ZodType, step: string | number): z.ZodType | undefined {
  if (type instanceof z.ZodArray) return bareType(type.element as z.ZodType);
  if (type instanceof z.ZodRecord) return bareType(type.valueType as z.ZodType);
  if (!(type instanceof z.ZodObject) || !Object.hasOwn(type.shape, step)) return undefined;
  return bareType(type.shape[step] as z.ZodType);
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
