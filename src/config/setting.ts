// What the table of settings says about each.
import type { z } from "zod";

export interface Setting {
  /** Undefined for what only the file can say. */
  readonly env: string | undefined;
  /** As a user would write it; undefined when there is none. */
  readonly default: string | undefined;
  readonly type: z.ZodType;
  /** One sentence for people, without its full stop. */
  readonly description: string;
  /** How the value may appear in a message: `hidden` is never shown, `url` without what may be secret in it. */
  readonly shown?: Shown;
  /** The same for the keys of its items. */
  readonly partsShown?: Readonly<Record<string, Shown>>;
  /** What stands in the file, when it is not a single value; `list` is separated by commas in the environment. */
  readonly form?: "list" | "rules" | "next" | "endpoints" | "map";
}

export type Shown = "hidden" | "url" | "path";
