// Settings from the YAML file, with the place of each. Scalars are taken as written (`64` is the text "64"), so a value
// is understood once, by its setting's type, wherever it comes from.
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import type { Entry, RuleInput, Source } from "./entry.ts";
import { nearest } from "./nearest.ts";
import type { Position, Problem } from "./problem.ts";
import { type SettingKey, settingKeys } from "./settings.ts";
import { describeSyntaxError } from "./yaml-syntax.ts";

export interface ConfigFile {
  /** As it is to appear in messages. */
  readonly path: string;
  readonly text: string;
}

const maxFileLength = 1024 * 1024;
const ruleKeys = ["match", "ttl"] as const;
const sections = new Set(settingKeys.map(sectionOf).filter((section) => section !== ""));
/** Keys that can be shown: a line like `password:hunter2`, without its space, is a key to YAML. */
const showable = /^[\w.-]{1,64}$/;

/** Every setting of the file, and every problem of its form. At most 1 MiB is read; nothing is set when it is not YAML. */
export function readYamlFile(file: ConfigFile): Source & { readonly broken: boolean } {
  const reader = new YamlReader(file);
  const broken = !reader.read();
  return { entries: reader.entries, problems: reader.problems, broken };
}

class YamlReader {
  readonly entries = new Map<SettingKey, Entry>();
  readonly problems: Problem[] = [];
  readonly #file: ConfigFile;
  readonly #lines = new LineCounter();
  readonly #positions = new Map<string, Position>();
  readonly #locate = (label: string) => this.#positions.get(label);
  #document: Document.Parsed | undefined;

  constructor(file: ConfigFile) {
    this.#file = file;
  }

  /** False when the text is no YAML mapping: then nothing can be said about what it sets. */
  read(): boolean {
    const { path, text } = this.#file;
    if (text.length > maxFileLength) {
      this.problems.push({ key: path, message: "longer than 1 MiB, which no configuration is" });
      return false;
    }
    const document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    this.#document = document;
    for (const error of [...document.errors, ...document.warnings]) {
      const { line, col } = this.#lines.linePos(error.pos[0]);
      this.problems.push({
        key: "file",
        position: { file: path, line, column: col },
        message: describeSyntaxError(error),
      });
    }
    if (document.errors.some(({ code }) => code !== "DUPLICATE_KEY")) return false;
    return this.#section(document.contents, "");
  }

  /** Reads the mapping at `path` ("" is the whole file); false when there is something else. */
  #section(value: unknown, path: string): boolean {
    const node = this.#follow(value);
    if (isEmpty(node)) return true;
    if (!isMap(node)) {
      this.#problem(path === "" ? "file" : path, node, `found ${kindOf(node)}, expected keys with values`);
      return false;
    }
    for (const pair of node.items) {
      const name = this.#keyName(pair.key);
      const key = path === "" || name === undefined ? name : `${path}.${name}`;
      if (key !== undefined && path === "" && sections.has(key)) this.#section(pair.value, key);
      else if (isSettingKey(key)) this.#setting(pair.value ?? pair.key, key);
      else this.#unknownKey(pair.key, key, path);
    }
    return true;
  }

  #setting(value: unknown, key: SettingKey): void {
    const input = key === "tags.rules" ? this.#rules(value) : this.#text(value, key);
    if (input !== undefined) this.entries.set(key, { input, label: key, locate: this.#locate });
  }

  #rules(value: unknown): RuleInput[] | undefined {
    const node = this.#follow(value);
    if (isEmpty(node)) return [];
    if (!isSeq(node)) {
      this.#problem("tags.rules", node, `found ${kindOf(node)}, expected a list of {match, ttl}`);
      return undefined;
    }
    this.#mark("tags.rules", node);
    return node.items.map((item, index) => this.#rule(item, `tags.rules[${index}]`));
  }

  #rule(value: unknown, label: string): RuleInput {
    const node = this.#follow(value);
    this.#mark(label, node);
    const rule: { match?: string; ttl?: string } = {};
    for (const pair of isMap(node) ? node.items : []) {
      const name = this.#keyName(pair.key);
      const key = ruleKeys.find((each) => each === name);
      if (key === undefined) {
        const found = name === undefined ? "a key" : `${label}.${name}`;
        this.#problem(found, pair.key, "a rule has only match and ttl");
        continue;
      }
      const text = this.#text(pair.value, `${label}.${key}`);
      if (text !== undefined) rule[key] = text;
    }
    return rule;
  }

  #text(value: unknown, label: string): string | undefined {
    const node = this.#follow(value);
    this.#mark(label, value);
    if (isEmpty(node)) {
      const hint = "one that begins with #, & or * needs quotes";
      this.#problem(label, value, `has no value; give one (${hint}), or leave the key out`);
      return undefined;
    }
    if (!isScalar(node)) {
      const expected = "a single value (one that begins with a bracket or a brace needs quotes)";
      this.#problem(label, value, `found ${kindOf(node)}, expected ${expected}`);
      return undefined;
    }
    return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
  }

  #unknownKey(node: unknown, key: string | undefined, path: string): void {
    const near = key === undefined ? undefined : suggest(key.slice(key.lastIndexOf(".") + 1), path);
    if (key === undefined || (path === "upstream" && near === undefined)) {
      // `{password: ,hunter2}` makes a key of the password, and so does a missing space after the colon.
      const message = "an unknown key (not shown: it may be part of a password that needs quotes)";
      this.#problem(path === "" ? "file" : path, node, message);
    } else {
      this.#problem(
        key,
        node,
        `there is no such setting${near === undefined ? "" : `; did you mean ${near}?`}`,
      );
    }
  }

  #keyName(node: unknown): string | undefined {
    const name = isScalar(node) ? String(node.source ?? node.value) : "";
    return showable.test(name) ? name : undefined;
  }

  #follow(node: unknown): unknown {
    return isAlias(node) && this.#document !== undefined ? node.resolve(this.#document) : node;
  }

  #mark(label: string, node: unknown): void {
    const position = this.#positionOf(node);
    if (position !== undefined) this.#positions.set(label, position);
  }

  #positionOf(node: unknown): Position | undefined {
    const offset = (node as Node | null | undefined)?.range?.[0];
    if (offset === undefined) return undefined;
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file.path, line, column: col };
  }

  #problem(key: string, node: unknown, message: string): void {
    this.problems.push({ key, position: this.#positionOf(node), message });
  }
}

function isSettingKey(key: string | undefined): key is SettingKey {
  return settingKeys.some((each) => each === key);
}

function isEmpty(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null);
}

/** What a node is, without its text, which may be a secret in the wrong place. */
function kindOf(node: unknown): string {
  if (isMap(node)) return "keys with values";
  return isSeq(node) ? "a list" : "a single value";
}

/** A setting of the same name in another section, else the one of this section that is spelt most alike. */
function suggest(name: string, section: string): string | undefined {
  const moved = settingKeys.find((key) => leafOf(key).toLowerCase() === name.toLowerCase());
  if (moved !== undefined) return moved;
  const all = section === "" ? [...settingKeys, ...sections] : settingKeys;
  const here = all.filter((key) => sectionOf(key) === section);
  const near = nearest(name, here.map(leafOf));
  return near === undefined || section === "" ? near : `${section}.${near}`;
}

function sectionOf(key: string): string {
  return key.slice(0, Math.max(0, key.indexOf(".")));
}

function leafOf(key: string): string {
  return key.slice(key.indexOf(".") + 1);
}
