// A secret out of a file, as container platforms hand secrets over.
import type { z } from "zod";
import { type Entry, problemAt, textOf } from "./entry.ts";
import { describePath } from "./path-text.ts";
import type { Problem } from "./problem.ts";
import { type ReadFile, readText } from "./read-text.ts";
import type { Secret, SecretSource } from "./secret.ts";
import { secretFile } from "./secret-file.ts";
import { path as pathType } from "./value-types.ts";

export interface SecretKind {
  /** `password`, for messages. */
  readonly word: string;
  readonly type: z.ZodType<Secret, string>;
}

/**
 * The secret in the file that `entry` names, re-read while the program runs; undefined when it names none. It must be
 * there now.
 */
export function readSecretSetting(
  entry: Entry | undefined,
  { word, type }: SecretKind,
  readFile: ReadFile,
): { readonly source: SecretSource | undefined } | { readonly problem: Problem } {
  const path = textOf(entry);
  // A path that is none is the schema's to report.
  if (entry === undefined || path === undefined || !pathType.safeParse(path).success)
    return { source: undefined };
  const file = readText(path, readFile);
  if ("reason" in file) {
    const why = `which cannot be read (${file.reason}), expected a file with the ${word}`;
    return { problem: problemAt(entry, `found ${describePath(path)}, ${why}`) };
  }
  // Editors and `echo` end a file with a newline, which is no part of the secret.
  const parse = (text: string) => type.safeParse(text.replace(/[\r\n]+$/, ""));
  const { data: initial, error } = parse(file.text);
  if (initial !== undefined) {
    const name = describePath(path);
    return { source: secretFile({ path, name, initial, parse: (text) => parse(text).data }) };
  }
  const expected = error?.issues[0]?.message ?? `a ${word}`;
  const message = `found other content (not shown) in ${describePath(path)}, expected ${expected}`;
  return { problem: problemAt(entry, message) };
}

/** Several of them by name, and every problem; a file that is not named, or has a problem, gives undefined. */
export function readSecretSettings<Name extends string>(
  wanted: Readonly<Record<Name, { readonly entry: Entry | undefined; readonly kind: SecretKind }>>,
  readFile: ReadFile,
): { readonly files: Readonly<Record<Name, SecretSource | undefined>>; readonly problems: Problem[] } {
  const files = {} as Record<Name, SecretSource | undefined>;
  const problems: Problem[] = [];
  for (const name of Object.keys(wanted) as Name[]) {
    const { entry, kind } = wanted[name];
    const read = readSecretSetting(entry, kind, readFile);
    if ("problem" in read) problems.push(read.problem);
    files[name] = "source" in read ? read.source : undefined;
  }
  return { files, problems };
}
