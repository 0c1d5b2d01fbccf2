// The values of settings as they stand in the YAML file. Scalars are taken as written (`64` is the text "64"), so a
// value is understood once, by its setting's type, wherever it comes from.
import { isMap, isSeq } from "yaml";
import type { Input, NextInput, RuleInput } from "./entry.ts";
import type { Setting } from "./setting.ts";
import { readEndpoints } from "./yaml-endpoints.ts";
import { isEmpty, kindOf, type YamlNodes } from "./yaml-nodes.ts";
import { assign, readKeys, readList, readMap, readText } from "./yaml-parts.ts";

/** The input of the given form; undefined after telling `nodes` why there is none. */
export function readInput(
  nodes: YamlNodes,
  form: Setting["form"],
  value: unknown,
  label: string,
): Input | undefined {
  if (form === "list") return readList(nodes, value, label);
  if (form === "rules") return readRules(nodes, value, label);
  if (form === "endpoints") return readEndpoints(nodes, value, label);
  if (form === "map") return readMap(nodes, value, label);
  return form === "next" ? readNext(nodes, value, label) : readText(nodes, value, label);
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
      match: (text, place) => assign(rule, "match", readText(nodes, text, place)),
      ttl: (text, place) => assign(rule, "ttl", readText(nodes, text, place)),
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
    upstream: (text, place) => assign(next, "upstream", readText(nodes, text, place)),
    on: (list, place) => {
      const on = readList(nodes, list, place);
      if (on !== undefined) next.on = on;
    },
  });
  return next;
}
