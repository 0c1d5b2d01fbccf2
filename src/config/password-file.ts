// The upstream password out of a file, as container platforms hand secrets over.
import type { Entries } from "./entry.ts";
import type { Problem } from "./problem.ts";
import { quote } from "./problem.ts";
import { type ReadFile, readText } from "./read-text.ts";
import type { SecretSource } from "./secret.ts";
import { secretFile } from "./secret-file.ts";
import { password } from "./value-types.ts";

/** A path can be shown; anything else may be the password itself, put into the wrong variable. */
export function describePath(text: string): string {
  return /^\.{0,2}\//.test(text) ? quote(text) : "a name (not shown: it may be the password itself)";
}

/** The password in a file, re-read while the program runs; undefined when no file is set. It must be there now. */
export function readPasswordFile(
  entries: Entries,
  readFile: ReadFile,
): { readonly source: SecretSource | undefined } | { readonly problem: Problem } {
  const entry = entries.get("upstream.passwordFile");
  if (typeof entry?.input !== "string" || entry.input.trim() === "") return { source: undefined };
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
  const parsed = parsePassword(file.text);
  if (parsed.success) {
    const parse = (text: string) => parsePassword(text).data;
    return { source: secretFile({ path, name: describePath(path), initial: parsed.data, parse }) };
  }
  const expected = parsed.error.issues[0]?.message ?? "a password";
  return problem(`found other content (not shown) in ${describePath(path)}, expected ${expected}`);
}

/** Editors and `echo` end a file with a newline, which is no part of the password. */
function parsePassword(text: string): ReturnType<typeof password.safeParse> {
  return password.safeParse(text.replace(/[\r\n]+$/, ""));
}
