// Texts in what other nodes say, as zod reads them.
import { z } from "zod";

/** The text, of 300 characters at most, that `parse` makes a value of, and of nothing else. */
export function parsedText<T>(parse: (text: string) => T | undefined) {
  return z
    .string()
    .max(300)
    .transform((value, context) => {
      const parsed = parse(value);
      if (parsed !== undefined) return parsed;
      context.addIssue("not as it has to be");
      return z.NEVER;
    });
}
