// The upstream password out of a file, as container platforms hand secrets over.
import type { Entries } from "./entry.ts";
import type { Problem } from "./problem.ts";
import { quote } from "./problem.ts";
import { type ReadFile, readText } from "./read-text.ts";
import type { Secret } from "./secret.ts";
import { password } from "./value-types.ts";

/** A path can be shown; anything else may be the password itself, put into the wrong variable. */
export function describePath(text: string): string {
  return /^\.{0,2}\//.test(text) ? quote(text) : "a name (not shown: it may be the password itself)";
}

/** The password with the newlines at its end removed; undefined when no file is set. */
export function readPasswordFile(
  entries: Entries,
  readFile: ReadFile,
): { readonly secret: Secret | undefined } | { readonly problem: Problem } {
  const entry = entries.get("upstream.passwordFile");
  if (typeof entry?.input !== "string" || entry.input.trim() === "") return { secret: undefined };
  const problem = (message: string) => ({
    problem: { key: entry.label, position: entry.locate?.(entry.label), message },
  });
  const path = entry.input.trim();
  const file = readText(path, readFile);
  if ("reason" in file) {
    return problem(
      `found ${describePath(path)}, which cannot be read (${file.reason}), expected a file with the password`,
    );
  }
  const parsed = password.safeParse(file.text.replace(/[\r\n]+$/, ""));
  if (parsed.success) return { secret: parsed.data };
  const expected = parsed.error.issues[0]?.message ?? "a password";
  return problem(`found other content (not shown) in ${describePath(path)}, expected ${expected}`);
}
