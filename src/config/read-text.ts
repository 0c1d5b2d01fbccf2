// Reading a small text file whose failure is for the user to put right.

/** Reads a whole file as UTF-8; throws the errors of node:fs. */
export type ReadFile = (path: string) => string;

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  ENOTDIR: "part of the path is not a directory",
  EISDIR: "it is a directory",
  EACCES: "permission denied",
  EPERM: "permission denied",
};

/** The text, or why there is none, in a few words. */
export function readText(
  path: string,
  readFile: ReadFile,
): { readonly text: string } | { readonly reason: string } {
  try {
    return { text: readFile(path) };
  } catch (error) {
    return { reason: reasonOf(error) };
  }
}

/** Why reading failed, in a few words. */
export function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
  return reasons[code] ?? code;
}
