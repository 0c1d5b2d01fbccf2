// The list notifications.endpoints as it stands in the YAML file.
import { isMap, isSeq } from "yaml";
import type { EndpointInput } from "./entry.ts";
import { isEmpty, kindOf, type YamlNodes } from "./yaml-nodes.ts";
import { assign, readKeys, readList, readMap, readText } from "./yaml-parts.ts";

const keysThereAre =
  "an endpoint has only name, url, headers, headerFiles, timeout, threshold, backoff, mediaType, ignore and headRequests";

type Writable<T> = { -readonly [P in keyof T]: T[P] };

/** Undefined after telling `nodes` that it is no list. */
export function readEndpoints(
  nodes: YamlNodes,
  value: unknown,
  label: string,
): readonly EndpointInput[] | undefined {
  const node = nodes.follow(value);
  if (isEmpty(node)) return [];
  if (!isSeq(node)) {
    nodes.problem(label, node, `found ${kindOf(node)}, expected a list of endpoints, each with name and url`);
    return undefined;
  }
  nodes.mark(label, node);
  return node.items.map((item, index) => readEndpoint(nodes, item, `${label}[${index}]`));
}

function readEndpoint(nodes: YamlNodes, item: unknown, label: string): EndpointInput {
  const endpoint: Writable<EndpointInput> = {};
  if (!isMap(nodes.follow(item))) {
    nodes.problem(label, item, "has no keys, expected at least name and url");
    return endpoint;
  }
  const text =
    (key: Exclude<keyof EndpointInput, "headers" | "headerFiles" | "ignore">) =>
    (value: unknown, place: string) =>
      assign(endpoint, key, readText(nodes, value, place));
  readKeys(nodes, item, label, keysThereAre, {
    name: text("name"),
    url: text("url"),
    timeout: text("timeout"),
    threshold: text("threshold"),
    backoff: text("backoff"),
    mediaType: text("mediaType"),
    headRequests: text("headRequests"),
    headers: (value, place) => assign(endpoint, "headers", readMap(nodes, value, place)),
    headerFiles: (value, place) => assign(endpoint, "headerFiles", readMap(nodes, value, place)),
    ignore: (value, place) => assign(endpoint, "ignore", readIgnore(nodes, value, place)),
  });
  return endpoint;
}

function readIgnore(nodes: YamlNodes, value: unknown, label: string): EndpointInput["ignore"] {
  const ignore: Writable<NonNullable<EndpointInput["ignore"]>> = {};
  readKeys(nodes, value, label, "ignore has only actions and mediaTypes", {
    actions: (list, place) => assign(ignore, "actions", readList(nodes, list, place)),
    mediaTypes: (list, place) => assign(ignore, "mediaTypes", readList(nodes, list, place)),
  });
  return ignore;
}
