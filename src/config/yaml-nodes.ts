// The nodes of one YAML file: what they are, where they stand, and what is wrong with them.
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import type { Position, Problem } from "./problem.ts";
import { describeSyntaxError } from "./yaml-syntax.ts";

export interface ConfigFile {
  /** As it is to appear in messages. */
  readonly path: string;
  readonly text: string;
}

const maxFileLength = 1024 * 1024;
/** Keys that can be shown: a line like `password:hunter2`, without its space, is a key to YAML. */
const showable = /^[\w.-]{1,64}$/;

export class YamlNodes {
  readonly problems: Problem[] = [];
  /** Where the value of a label stands, once it was marked. */
  readonly locate = (label: string): Position | undefined => this.#positions.get(label);
  readonly #file: ConfigFile;
  readonly #lines = new LineCounter();
  readonly #positions = new Map<string, Position>();
  readonly #document: Document.Parsed | undefined;

  /** Every syntax error is a problem. At most 1 MiB is read. */
  constructor(file: ConfigFile) {
    this.#file = file;
    if (file.text.length > maxFileLength) {
      this.problems.push({ key: file.path, message: "longer than 1 MiB, which no configuration is" });
      return;
    }
    this.#document = parseDocument(file.text, { lineCounter: this.#lines, prettyErrors: false });
    for (const error of [...this.#document.errors, ...this.#document.warnings]) {
      const position = this.#positionAt(error.pos[0]);
      this.problems.push({ key: "file", position, message: describeSyntaxError(error) });
    }
  }

  /** The root of the file; undefined when the text is no YAML, so that nothing can be said about what it sets. */
  get root(): { readonly contents: unknown } | undefined {
    return this.#document?.errors.every(({ code }) => code === "DUPLICATE_KEY") ? this.#document : undefined;
  }

  /** The node itself, or the one an alias stands for. */
  follow(node: unknown): unknown {
    return isAlias(node) && this.#document !== undefined ? node.resolve(this.#document) : node;
  }

  /** The text of a key; undefined for one that cannot be shown. */
  keyName(node: unknown): string | undefined {
    const name = isScalar(node) ? String(node.source ?? node.value) : "";
    return showable.test(name) ? name : undefined;
  }

  /** Remembers where the value of a label stands. */
  mark(label: string, node: unknown): void {
    const position = this.positionOf(node);
    if (position !== undefined) this.#positions.set(label, position);
  }

  positionOf(node: unknown): Position | undefined {
    const offset = (node as Node | null | undefined)?.range?.[0];
    return offset === undefined ? undefined : this.#positionAt(offset);
  }

  problem(key: string, node: unknown, message: string): void {
    this.problems.push({ key, position: this.positionOf(node), message });
  }

  #positionAt(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file.path, line, column: col };
  }
}

export function isEmpty(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null);
}

/** What a node is, without its text, which may be a secret in the wrong place. */
export function kindOf(node: unknown): string {
  if (isMap(node)) return "keys with values";
  return isSeq(node) ? "a list" : "a single value";
}
