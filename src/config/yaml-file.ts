// Settings from the YAML file, with the place of each.
import { isMap, isSeq } from "yaml";
import type { Entry, Source, UpstreamInput } from "./entry.ts";
import { type SettingKey, settingKeys, settingOf } from "./settings.ts";
import { sections, suggestKey, upstreamList } from "./unknown-key.ts";
import { type ConfigFile, isEmpty, kindOf, YamlNodes } from "./yaml-nodes.ts";
import { readInput } from "./yaml-values.ts";

export interface FileSource extends Source {
  /** The mappings in `upstreams`; undefined when there is no such list, or nothing in it. */
  readonly upstreams: readonly UpstreamInput[] | undefined;
  /** Not YAML: nothing is known about what it sets. */
  readonly broken: boolean;
}

const maxUpstreams = 100;

/** A mapping of the file, and where its settings go. */
interface Section {
  /** Path in the table of settings: "" or `upstream.tls`. */
  readonly key: string;
  /** Path in the file: `upstreams[0].tls`. */
  readonly label: string;
  readonly entries: Map<SettingKey, Entry>;
}

/** Every setting of the file, and every problem of its form. At most 1 MiB is read; nothing is set when it is not YAML. */
export function readYamlFile(file: ConfigFile): FileSource {
  const reader = new YamlReader(file);
  const broken = !reader.read();
  const { entries, upstreams, problems } = reader;
  return { entries, upstreams, problems, broken };
}

class YamlReader {
  readonly entries = new Map<SettingKey, Entry>();
  upstreams: UpstreamInput[] | undefined;
  readonly #nodes: YamlNodes;

  constructor(file: ConfigFile) {
    this.#nodes = new YamlNodes(file);
  }

  get problems() {
    return this.#nodes.problems;
  }

  /** False when the text is no YAML mapping. */
  read(): boolean {
    const { root } = this.#nodes;
    return root !== undefined && this.#section(root.contents, { key: "", label: "", entries: this.entries });
  }

  #section(value: unknown, section: Section): boolean {
    const node = this.#nodes.follow(value);
    if (isEmpty(node)) return true;
    if (!isMap(node)) {
      const found = `found ${kindOf(node)}, expected keys with values`;
      this.#nodes.problem(section.label || "file", node, found);
      return false;
    }
    for (const pair of node.items) {
      const name = this.#nodes.keyName(pair.key);
      if (name === undefined) {
        this.#unknownKey(pair.key, undefined, section);
        continue;
      }
      const [key, label] = [below(section.key, name), below(section.label, name)];
      if (key === upstreamList) this.#list(pair.value);
      else if (sections.has(key)) this.#section(pair.value, { ...section, key, label });
      else if (isSettingKey(key)) this.#setting(pair.value ?? pair.key, key, { ...section, label });
      else this.#unknownKey(pair.key, name, section);
    }
    return true;
  }

  #list(value: unknown): void {
    const node = this.#nodes.follow(value);
    if (isEmpty(node)) return;
    if (!isSeq(node)) {
      this.#nodes.problem(upstreamList, node, `found ${kindOf(node)}, expected a list of upstreams`);
      return;
    }
    if (node.items.length > maxUpstreams) {
      const found = `found ${node.items.length} items, expected at most ${maxUpstreams} upstreams`;
      this.#nodes.problem(upstreamList, node, found);
    }
    for (const [index, item] of node.items.slice(0, maxUpstreams).entries()) this.#upstream(item, index);
  }

  #upstream(item: unknown, index: number): void {
    const label = `${upstreamList}[${index}]`;
    const entries = new Map<SettingKey, Entry>();
    this.upstreams ??= [];
    if (isEmpty(item)) this.#nodes.problem(label, item, "has no value, expected keys with values");
    else if (this.#section(item, { key: "upstream", label, entries }))
      this.upstreams.push({ label, position: this.#nodes.positionOf(item), entries });
  }

  #setting(value: unknown, key: SettingKey, { label, entries }: Section): void {
    const input = readInput(this.#nodes, settingOf(key).form, value, label);
    if (input !== undefined) entries.set(key, { input, label, locate: this.#nodes.locate });
  }

  #unknownKey(node: unknown, name: string | undefined, { key, label }: Section): void {
    const near = name === undefined ? undefined : suggestKey(name, key);
    if (name === undefined || (/^(?:upstream|redis|s3)/.test(key) && near === undefined)) {
      // `{password: ,hunter2}` makes a key of the password, and so does a missing space after the colon.
      const message = "an unknown key (not shown: it may be part of a password that needs quotes)";
      this.#nodes.problem(label || "file", node, message);
      return;
    }
    const shown = near?.replace(/^upstream(?=\.)/, /^upstreams\[\d+\]/.exec(label)?.[0] ?? "upstream");
    const hint = shown === undefined ? "" : `; did you mean ${shown}?`;
    this.#nodes.problem(below(label, name), node, `there is no such setting${hint}`);
  }
}

function isSettingKey(key: string): key is SettingKey {
  return settingKeys.some((each) => each === key);
}

function below(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
