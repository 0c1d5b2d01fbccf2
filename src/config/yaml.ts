// The YAML file, read along the schema: what each key holds, where it stands, and what is wrong with its form.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from "yaml";
import { z } from "zod";
import { nearest } from "./nearest.ts";
import type { Position } from "./problem.ts";
import { bareType, type Path, pathText, settings, typeAt } from "./settings.ts";
import type { Input, Sources } from "./sources.ts";
import { traits } from "./types/text-types.ts";

export interface ConfigFile {
  /** As it is to appear in messages. */
  readonly path: string;
  readonly text: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const maxFileLength = 1024 * 1024;
/** Keys that can be shown: a line like `password:hunter2`, without its space, is a key to YAML. */
const showable = /^[\w.-]{1,64}$/;
const hiddenKey = "an unknown key (not shown: it may be part of a password that needs quotes)";

/**
 * Puts every setting of the file into `sources`, and every problem of its form. At most 1 MiB is read; nothing is set
 * when it is not YAML. `env` has the variables that values may name.
 */
export function readYamlFile(file: ConfigFile, sources: Sources, env: Environment = {}): void {
  if (file.text.length > maxFileLength) {
    sources.broken = true;
    sources.problems.push({ key: file.path, message: "longer than the 1 MiB that are read" });
    return;
  }
  const root = new YamlReader(file, sources, env).read([]);
  if (root === undefined) sources.broken = true;
  else sources.setAll(root as { [key: string]: Input });
}

/**
 * The value of a variable of the environment that holds a list as JSON, or as YAML, which JSON is a part of; undefined
 * after telling `sources` what is wrong.
 */
export function readJsonVariable(
  name: string,
  text: string,
  path: Path,
  sources: Sources,
): Input | undefined {
  const input = new YamlReader({ path: name, text }, sources, {}, name).read(path);
  if (input === undefined) sources.broken = true;
  return input;
}

class YamlReader {
  readonly #file: ConfigFile;
  readonly #sources: Sources;
  readonly #env: Environment;
  /** The variable that is read, whose text has no place in a file. */
  readonly #variable: string | undefined;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(file: ConfigFile, sources: Sources, env: Environment, variable?: string) {
    this.#file = file;
    this.#sources = sources;
    this.#env = env;
    this.#variable = variable;
    this.#document = parseDocument(file.text, { lineCounter: this.#lines, prettyErrors: false });
    for (const error of [...this.#document.errors, ...this.#document.warnings]) {
      const position = this.#positionAt(error.pos[0]);
      sources.problems.push({ key: variable ?? "file", position, message: describeSyntaxError(error) });
    }
  }

  /** What the text says of the setting at `path`; undefined when it is not YAML, or has another form. */
  read(path: Path): Input | undefined {
    const type = typeAt(path);
    const isReadable = this.#document.errors.every(({ code }) => code === "DUPLICATE_KEY");
    return isReadable && type !== undefined ? this.#value(this.#document.contents, type, path) : undefined;
  }

  /** Undefined after telling what is wrong; what is left of a mapping or list with faults. */
  #value(value: unknown, type: z.ZodType, path: Path): Input | undefined {
    this.#sources.mark(path, this.#positionOf(value));
    if (type instanceof z.ZodArray) return this.#list(value, type, path);
    if (!(type instanceof z.ZodObject || type instanceof z.ZodRecord)) return this.#text(value, path);
    const shorthand = traits.get(type)?.shorthand;
    if (shorthand === undefined || isMap(this.#follow(value))) return this.#mapping(value, path, type);
    const text = this.#text(value, path);
    return text === undefined ? undefined : { [shorthand]: text };
  }

  #mapping(
    value: unknown,
    path: Path,
    type: z.ZodObject | z.ZodRecord,
  ): { [key: string]: Input } | undefined {
    const node = this.#follow(value);
    if (isEmpty(node) && typeof path.at(-1) !== "number") return {};
    if (!isMap(node)) {
      const found = isEmpty(node) ? "has no value" : `found ${kindOf(node)}`;
      this.#refuse(path, value, `${found}, expected keys with values`);
      return undefined;
    }
    const section: { [key: string]: Input } = {};
    for (const pair of node.items) {
      const name = this.#keyName(pair.key);
      // A key with dots means the same as keys within keys.
      const steps = name === undefined || type instanceof z.ZodRecord ? [name ?? ""] : name.split(".");
      const below = [...path, ...steps];
      const at = name === undefined ? undefined : typeAt(below);
      const input = at && this.#value(pair.value ?? pair.key, at, below);
      if (at === undefined) this.#unknownKey(pair.key, name, path);
      else if (input !== undefined) setBelow(section, steps, input);
    }
    return section;
  }

  /** A single value is a list of one; nothing at all is an empty list. */
  #list(value: unknown, type: z.ZodArray, path: Path): Input[] | undefined {
    const node = this.#follow(value);
    if (isEmpty(node)) return [];
    const ofObjects = bareType(type.element as z.ZodType) instanceof z.ZodObject;
    if (isMap(node) || (ofObjects && !isSeq(node))) {
      const of = ofObjects ? ` of ${traits.get(type)?.called}` : "";
      this.#refuse(path, node, `found ${kindOf(node)}, expected a list${of}`);
      return undefined;
    }
    const items: readonly unknown[] = isSeq(node) ? node.items : [value];
    const inputs = items.map((item, index) =>
      this.#value(item, bareType(type.element as z.ZodType), [...path, index]),
    );
    // An item with a fault is told; what comes after it keeps its place.
    return ofObjects ? inputs.map((input) => input ?? {}) : inputs.every(isThere) ? inputs : undefined;
  }

  #text(value: unknown, path: Path): string | undefined {
    const node = this.#follow(value);
    if (isEmpty(node) || value === undefined) {
      const hint = "one that begins with #, & or * needs quotes";
      this.#refuse(path, value, `has no value; give one (${hint}), or leave the key out`);
      return undefined;
    }
    if (!isScalar(node)) {
      const expected = "a single value (one that begins with a bracket or a brace needs quotes)";
      this.#refuse(path, value, `found ${kindOf(node)}, expected ${expected}`);
      return undefined;
    }
    const text = typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
    return this.#withVariables(text, value, path);
  }

  /** `${NAME}`, `${NAME:-what stands for it when it is not set or empty}`; `$$` is one `$`. */
  #withVariables(text: string, node: unknown, path: Path): string | undefined {
    if (!text.includes("$")) return text;
    let missing: string | undefined;
    const whole = text.replace(
      /\$\$|\$\{([A-Za-z_]\w{0,127})(?::-([^}]*))?\}/g,
      (all, name: string | undefined, otherwise: string | undefined) => {
        if (name === undefined) return "$";
        const value = this.#env[name];
        if (value !== undefined && value !== "") return value;
        if (otherwise === undefined) missing ??= name;
        return otherwise ?? all;
      },
    );
    if (missing !== undefined) {
      const expected = `expected it, or \${${missing}:-another value} here, or $$ for a $`;
      this.#refuse(path, node, `names the variable ${missing}, which is not in the environment, ${expected}`);
      return undefined;
    }
    if (whole !== text) this.#sources.markWritten(path, text);
    return whole;
  }

  #unknownKey(node: unknown, name: string | undefined, path: Path): void {
    const near = name === undefined ? undefined : suggest(name, path);
    const inItem = isInItem(path);
    // `{password: ,hunter2}` makes a key of the password, and so does a missing space after the colon.
    const mayBeSecret = near === undefined && !inItem && /^(?:upstream|redis|s3)/.test(String(path[0]));
    if (name === undefined || mayBeSecret) {
      this.#refuse(path, node, hiddenKey, pathText(path) || "file");
      return;
    }
    const only = near === undefined && inItem ? `, only ${keysAt(path).join(", ")}` : "";
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    this.#refuse(path, node, `there is no such setting${only}${hint}`, pathText([...path, name]));
  }

  /** The node itself, or the one an alias stands for. */
  #follow(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  /** The text of a key; undefined for one that cannot be shown. */
  #keyName(node: unknown): string | undefined {
    const name = isScalar(node) ? String(node.source ?? node.value) : "";
    return showable.test(name) ? name : undefined;
  }

  #refuse(path: Path, node: unknown, message: string, key?: string): void {
    const label = key ?? (pathText(path) || "file");
    if (this.#variable === undefined)
      this.#sources.problems.push({ key: label, position: this.#positionOf(node), message });
    else this.#sources.problems.push({ key: label.replace(/^\w+/, this.#variable), message });
  }

  #positionOf(node: unknown): Position | undefined {
    const offset = (node as Node | null | undefined)?.range?.[0];
    return offset === undefined ? undefined : this.#positionAt(offset);
  }

  #positionAt(offset: number): Position | undefined {
    if (this.#variable !== undefined) return undefined;
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file.path, line, column: col };
  }
}

function isThere(input: Input | undefined): input is Input {
  return input !== undefined;
}

function setBelow(section: { [key: string]: Input }, names: readonly string[], input: Input): void {
  const [first = "", ...rest] = names;
  if (rest.length === 0) {
    const before = section[first];
    const both = typeof before === "object" && typeof input === "object" && !Array.isArray(input);
    section[first] = both ? { ...before, ...input } : input;
    return;
  }
  section[first] ??= {};
  setBelow(section[first] as { [key: string]: Input }, rest, input);
}

function isEmpty(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null);
}

/** What a node is, without its text, which may be a secret in the wrong place. */
function kindOf(node: unknown): string {
  if (isMap(node)) return "keys with values";
  return isSeq(node) ? "a list" : "a single value";
}

// ---- what was meant ---------------------------------------------------------------------------------------------

/** Whether it is in an item of a list; an upstream of several counts as one that stands alone. */
function isInItem(path: Path): boolean {
  return path.slice(isUpstream(path) ? 2 : 0).some((step) => typeof step === "number");
}

function isUpstream([section, index]: Path): boolean {
  return section === "upstreams" && typeof index === "number";
}

function keysAt(path: Path): string[] {
  const type = typeAt(path);
  return type instanceof z.ZodObject ? Object.keys(type.shape) : [];
}

/** A setting of the same name in another section, else what is spelt most alike in this one. */
function suggest(name: string, path: Path): string | undefined {
  const same = settings.filter((each) => each.path.at(-1)?.toLowerCase() === name.toLowerCase());
  const [moved] = isInItem(path) ? [] : same.toSorted((a, b) => a.path.length - b.path.length);
  if (moved !== undefined) {
    const [section, ...rest] = moved.path;
    return isUpstream(path) && section === "upstream" ? pathText([...path.slice(0, 2), ...rest]) : moved.key;
  }
  const near = nearest(name, keysAt(path));
  return near === undefined ? undefined : pathText([...path, near]);
}

// ---- broken YAML ------------------------------------------------------------------------------------------------

/** In our own words: the library's messages may quote the text at fault, which may be a password. */
const sentences: Partial<Record<YAMLError["code"], string>> = {
  BAD_ALIAS: "a name after * that no & has given before; put a value that begins with * in quotes",
  BAD_DQ_ESCAPE: "an unknown \\ escape in double quotes; use single quotes to take a backslash as it is",
  BAD_INDENT: "the indentation is wrong, or a bracket is not closed",
  BAD_SCALAR_START: "a value cannot begin with this character; put the value in quotes",
  BLOCK_AS_IMPLICIT_KEY:
    "a second colon on the line; put a value that contains a colon and a space in quotes",
  DUPLICATE_KEY: "the same key stands here twice",
  MISSING_CHAR: "a quote, a bracket, or the colon after a key is missing",
  MULTIPLE_DOCS: "a second document begins here; one file holds one configuration",
  TAB_AS_INDENT: "indent with spaces, not with tabs",
  TAG_RESOLVE_FAILED: "an unknown tag; put a value that begins with ! in quotes",
  UNEXPECTED_TOKEN: "unexpected text; put a value with special characters in quotes",
};

/** One line about a syntax error or warning; never any text of the file. */
function describeSyntaxError(error: YAMLError): string {
  return `not valid YAML: ${sentences[error.code] ?? "the text cannot be understood here"}`;
}
