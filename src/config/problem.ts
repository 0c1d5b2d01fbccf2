// What is wrong with a configuration, or doubtful, in words a person can act on.

/** A place in the YAML file; line and column start at 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Never holds a secret: neither a hidden value, nor text of the file whose meaning is unknown. */
export interface Problem {
  /** The setting as the user wrote it: `upstream.url` or `ENTREPOT_UPSTREAM_URL`. */
  readonly key: string;
  readonly position?: Position | undefined;
  /** What was found and what was expected; one line. */
  readonly message: string;
  /** Lines that show how to put it right. */
  readonly advice?: readonly string[];
}

const maxShown = 80;

/** A value for a message: quoted, control characters escaped, at most 80 characters. */
export function quote(text: string): string {
  return JSON.stringify(text.length > maxShown ? `${text.slice(0, maxShown)}...` : text);
}

/** For sorting: what stands in the file by line and column, then the rest as it came. */
export function byPlace(a: Position | undefined, b: Position | undefined): number {
  const end = { line: Number.MAX_SAFE_INTEGER, column: 0 };
  const [one, other] = [a ?? end, b ?? end];
  return one.line - other.line || one.column - other.column;
}

/** `file:line:column`. */
export function formatPosition({ file, line, column }: Position): string {
  return `${file}:${line}:${column}`;
}

/** On one line: `tags.ttl (mirror.yaml:2:8): found ...`. */
export function formatProblem({ key, position, message }: Problem): string {
  return position === undefined ? `${key}: ${message}` : `${key} (${formatPosition(position)}): ${message}`;
}

/** The text for the terminal: every problem on a line of its own, then advice. Ends in a newline. */
export function formatProblems(problems: readonly Problem[]): string {
  const [first, ...others] = problems.map(formatProblem);
  const lines =
    others.length === 0
      ? [`entrepot: ${first}`]
      : [
          `entrepot: ${problems.length} problems in the configuration`,
          ...[first, ...others].map((line) => `  ${line}`),
        ];
  for (const { advice } of problems) {
    if (advice !== undefined) lines.push("", ...advice);
  }
  return `${lines.join("\n")}\n`;
}

/** The text for the terminal of what does not stop the program: one line each, ends in a newline; "" for none. */
export function formatWarnings(warnings: readonly Problem[]): string {
  return warnings.map((warning) => `entrepot: warning: ${formatProblem(warning)}\n`).join("");
}
