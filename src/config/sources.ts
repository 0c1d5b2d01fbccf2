// What was set, as text and with the place of each, before it is understood: the file, and the environment on top of it.
import { createHash } from "node:crypto";
import { formatPosition, type Position, type Problem } from "./problem.ts";
import { type Path, pathText, valueAt } from "./settings.ts";

/** Texts, and lists and mappings of them. */
export type Input = string | Input[] | { [key: string]: Input };

export class Sources {
  readonly problems: Problem[] = [];
  /** A file or variable is not YAML: nothing is known about what it sets. */
  broken = false;
  /** Private, since it holds secrets: it prints nowhere. */
  readonly #root: { [key: string]: Input } = {};
  readonly #positions = new Map<string, Position>();
  readonly #variables = new Map<string, string>();
  readonly #written = new Map<string, string>();
  /** Hashes of the files that settings name, to tell whether one has changed. */
  readonly #contents = new Map<string, string>();

  /** In the form of the schema. */
  get root(): Readonly<Record<string, Input>> {
    return this.#root;
  }

  /** Takes over what the root of the file has. */
  setAll(root: { [key: string]: Input }): void {
    Object.assign(this.#root, root);
  }

  /** Sets what stands at `path`; from a variable of the environment, it replaces all that the file says there. */
  set(path: Path, input: Input, variable?: string): void {
    let at: Record<string | number, Input> = this.#root;
    for (const step of path.slice(0, -1)) {
      at[step] ??= {};
      at = at[step] as Record<string | number, Input>;
    }
    at[path.at(-1) as string] = input;
    if (variable !== undefined) this.#variables.set(pathText(path), variable);
  }

  /** Remembers where the file has the value. */
  mark(path: Path, position: Position | undefined): void {
    if (position !== undefined) this.#positions.set(pathText(path), position);
  }

  /** Remembers what the file says where a variable was put in. */
  markWritten(path: Path, text: string): void {
    this.#written.set(pathText(path), text);
  }

  /** Remembers what the file that the setting at `path` names had in it. */
  markContent(path: Path, text: string): void {
    this.#contents.set(pathText(path), createHash("sha256").update(text).digest("base64"));
  }

  /** Hashes of the files that are named at `path` or below it; two of the same files differ when their contents do. */
  contentsBelow(path: Path): string[] {
    const at = pathText(path);
    const below = [...this.#contents].filter(([key]) => key === at || key.startsWith(`${at}.`));
    return below.map(([key, hash]) => `${key.slice(at.length)} ${hash}`);
  }

  get(path: Path): Input | undefined {
    return valueAt(this.#root, path) as Input | undefined;
  }

  has(path: Path): boolean {
    return this.get(path) !== undefined;
  }

  /** Without spaces around it; undefined when nothing, or no single text, was set. */
  text(path: Path): string | undefined {
    const input = this.get(path);
    return typeof input === "string" && input.trim() !== "" ? input.trim() : undefined;
  }

  /** The text as the file has it, when variables were put into it. */
  written(path: Path): string | undefined {
    return this.#written.get(pathText(path));
  }

  isFromEnvironment(path: Path): boolean {
    return this.#variable(path) !== undefined;
  }

  /** How the user wrote the key: `upstreams[1].url` or `ENTREPOT_UPSTREAM_URL`. */
  label(path: Path): string {
    const variable = this.#variable(path);
    return variable === undefined ? pathText(path) : pathText([variable.name, ...variable.rest]);
  }

  /** Where it stands in the file, or what is around it. */
  position(path: Path): Position | undefined {
    if (this.#variable(path) !== undefined) return undefined;
    return (
      this.#positions.get(pathText(path)) ?? (path.length > 1 ? this.position(path.slice(0, -1)) : undefined)
    );
  }

  /** Where the value came from, `ENTREPOT_LISTEN` or `mirror.yaml:3:9`; undefined for a default. */
  origin(path: Path): string | undefined {
    if (!this.has(path)) return undefined;
    const position = this.position(path);
    return position === undefined ? this.label(path) : formatPosition(position);
  }

  /** Records that something is wrong at `path`. */
  refuse(path: Path, message: string): void {
    this.problems.push(this.problem(path, message));
  }

  problem(path: Path, message: string): Problem {
    return { key: this.label(path), position: this.position(path), message };
  }

  #variable(path: Path): { readonly name: string; readonly rest: Path } | undefined {
    for (let length = path.length; length > 0; length--) {
      const name = this.#variables.get(pathText(path.slice(0, length)));
      if (name !== undefined) return { name, rest: path.slice(length) };
    }
    return undefined;
  }
}
