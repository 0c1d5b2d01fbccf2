// From a parser of text to a zod type. Every input is text: the environment has nothing else, and YAML scalars are
// taken as written, so that a value means the same in both. An issue's message is what was expected.
import { z } from "zod";
import type { Parsed } from "./parsed.ts";

export function parsedBy<T>(parse: (text: string) => Parsed<T>) {
  return z.string({ error: "a value" }).transform((text, context): T => {
    const result = parse(text);
    if ("value" in result) return result.value;
    context.addIssue({ code: "custom", message: result.expected });
    return z.NEVER;
  });
}
