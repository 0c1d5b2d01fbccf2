// The values of settings as they stand in the YAML file. Scalars are taken as written (`64` is the text "64"), so a
// value is understood once, by its setting's type, wherever it comes from.
import { isMap, isScalar, isSeq } from "yaml";
import type { Input, NextInput, RuleInput } from "./entry.ts";
import type { Setting } from "./setting.ts";
import { isEmpty, kindOf, type YamlNodes } from "./yaml-nodes.ts";

/** The input of the given form; undefined after telling `nodes` why there is none. */
export function readInput(
  nodes: YamlNodes,
  form: Setting["form"],
  value: unknown,
  label: string,
): Input | undefined {
  if (form === "list") return readList(nodes, value, label);
  if (form === "rules") return readRules(nodes, value, label);
  return form === "next" ? readNext(nodes, value, label) : readText(nodes, value, label);
}

function readText(nodes: YamlNodes, value: unknown, label: string): string | undefined {
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
function readList(nodes: YamlNodes, value: unknown, label: string): readonly string[] | undefined {
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

function readRules(nodes: YamlNodes, value: unknown, label: string): RuleInput[] | undefined {
  const node = nodes.follow(value);
  if (isEmpty(node)) return [];
  if (!isSeq(node)) {
    nodes.problem(label, node, `found ${kindOf(node)}, expected a list of {match, ttl}`);
    return undefined;
  }
  nodes.mark(label, node);
  return node.items.map((item, index) => {
    const rule: { match?: string; ttl?: string } = {};
    readKeys(nodes, item, `${label}[${index}]`, "a rule has only match and ttl", {
      match: (text, place) => assignText(rule, "match", readText(nodes, text, place)),
      ttl: (text, place) => assignText(rule, "ttl", readText(nodes, text, place)),
    });
    return rule;
  });
}

/** A name, or `{upstream, on}`. */
function readNext(nodes: YamlNodes, value: unknown, label: string): NextInput | undefined {
  const node = nodes.follow(value);
  nodes.mark(label, value);
  if (!isMap(node)) {
    const upstream = readText(nodes, value, label);
    return upstream === undefined ? undefined : { upstream };
  }
  const next: { upstream?: string; on?: readonly string[] } = {};
  readKeys(nodes, value, label, "next has only upstream and on", {
    upstream: (text, place) => assignText(next, "upstream", readText(nodes, text, place)),
    on: (list, place) => {
      const on = readList(nodes, list, place);
      if (on !== undefined) next.on = on;
    },
  });
  return next;
}

/** Hands the value of each key to its reader; other keys are problems. What is no mapping has no keys. */
function readKeys(
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

function assignText<K extends string>(target: { [P in K]?: string }, key: K, text: string | undefined): void {
  if (text !== undefined) target[key] = text;
}
