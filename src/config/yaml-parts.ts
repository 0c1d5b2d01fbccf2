// The parts values are made of: single texts, lists of them, mappings of known keys.
import { isMap, isScalar, isSeq } from "yaml";
import { isEmpty, kindOf, type YamlNodes } from "./yaml-nodes.ts";

/** Undefined after telling `nodes` what is there instead of a text. */
export function readText(nodes: YamlNodes, value: unknown, label: string): string | undefined {
  const node = nodes.follow(value);
  nodes.mark(label, value);
  if (isEmpty(node)) {
    const hint = "one that begins with #, & or * needs quotes";
    nodes.problem(label, value, `has no value; give one (${hint}), or leave the key out`);
    return undefined;
  }
  if (!isScalar(node)) {
    const expected = "a single value (one that begins with a bracket or a brace needs quotes)";
    nodes.problem(label, value, `found ${kindOf(node)}, expected ${expected}`);
    return undefined;
  }
  return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
}

/** A single value is a list of one; nothing at all is an empty list. */
export function readList(nodes: YamlNodes, value: unknown, label: string): readonly string[] | undefined {
  const node = nodes.follow(value);
  nodes.mark(label, value);
  if (isEmpty(node)) return [];
  if (isMap(node)) {
    nodes.problem(label, value, "found keys with values, expected a list");
    return undefined;
  }
  const items: readonly unknown[] = isSeq(node) ? node.items : [value];
  const texts = items.map((item, index) => readText(nodes, item, `${label}[${index}]`));
  const whole = texts.filter((text) => text !== undefined);
  return whole.length === texts.length ? whole : undefined;
}

/** Texts by any keys that can be shown. */
export function readMap(nodes: YamlNodes, value: unknown, label: string): Record<string, string> | undefined {
  const node = nodes.follow(value);
  nodes.mark(label, value);
  if (isEmpty(node)) return {};
  if (!isMap(node)) {
    nodes.problem(label, value, `found ${kindOf(node)}, expected keys with values`);
    return undefined;
  }
  const map: Record<string, string> = {};
  for (const pair of node.items) {
    const name = nodes.keyName(pair.key);
    if (name === undefined) nodes.problem(label, pair.key, "a key that cannot be one (not shown)");
    else {
      const text = readText(nodes, pair.value, `${label}.${name}`);
      if (text !== undefined) map[name] = text;
    }
  }
  return map;
}

/** Hands the value of each key to its reader; other keys are problems. What is no mapping has no keys. */
export function readKeys(
  nodes: YamlNodes,
  value: unknown,
  label: string,
  onlyThese: string,
  readers: Readonly<Record<string, (value: unknown, label: string) => void>>,
): void {
  const node = nodes.follow(value);
  nodes.mark(label, node);
  for (const pair of isMap(node) ? node.items : []) {
    const name = nodes.keyName(pair.key);
    const read = name !== undefined && Object.hasOwn(readers, name) ? readers[name] : undefined;
    if (read === undefined)
      nodes.problem(name === undefined ? "a key" : `${label}.${name}`, pair.key, onlyThese);
    else read(pair.value, `${label}.${name}`);
  }
}

/** Sets the key, unless there is nothing to set it to. */
export function assign<K extends string, V>(target: { [P in K]?: V }, key: K, value: V | undefined): void {
  if (value !== undefined) target[key] = value;
}
