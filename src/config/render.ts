// The resolved configuration as YAML for `entrepot check`: a file that can be given back with --config, except that
// it never holds a secret.
import { Document, isMap, isNode, isScalar } from "yaml";
import type { Config, NotificationEndpointConfig } from "./config.ts";
import type { Origins, OriginsByKey } from "./origin.ts";
import { type Printed, printedCommon, printedUpstream } from "./printed.ts";
import { commonKeys, type SettingKey, settingOf, upstreamKeys } from "./settings.ts";

/** What may stand in the file or the environment itself and is not shown. */
const secrets = {
  upstream: ["upstream.password", "upstream.authorization"],
  redis: ["redis.password", "redis.sentinelPassword"],
  s3: ["s3.accessKeyId", "s3.secretAccessKey"],
  webhooks: ["webhooks.secret"],
} as const;

type Path = readonly (string | number)[];

/** YAML with a comment on every line saying where the value came from. Secrets appear as comments only. */
export function renderConfig(config: Config, origins: Origins): string {
  const document = new Document(content(config, origins));
  for (const key of commonKeys) addOrigin(document, key.split("."), key, origins.common);
  for (const [index, endpoint] of (config.notifications?.endpoints ?? []).entries())
    addHidden(document, ["notifications", "endpoints", index], endpoint);
  for (const [index, own] of origins.upstreams.entries()) {
    const path = origins.listed ? ["upstreams", index] : ["upstream"];
    for (const key of upstreamKeys) addOrigin(document, [...path, ...key.split(".").slice(1)], key, own);
    addSecrets(document, path, "upstream", own);
  }
  for (const section of ["redis", "s3", "webhooks"] as const)
    addSecrets(document, [section], section, origins.common);
  return document.toString({ lineWidth: 0 });
}

/** In the order of the table of settings. */
function content(config: Config, origins: Origins): Record<string, unknown> {
  const { cache, tags, redis, s3, notifications, webhooks, ...others } = nested(
    printedCommon(config, origins.common),
  );
  const upstreams = config.upstreams.map(
    (upstream, index) => nested(printedUpstream(upstream, origins.upstreams[index] ?? new Map())).upstream,
  );
  const own = origins.listed ? { upstreams } : { upstream: upstreams[0] };
  return { ...others, ...own, cache, tags, redis, s3, notifications, webhooks };
}

/** `a.b` becomes b in a; what has no value is left out. */
function nested(values: Readonly<Record<string, Printed>>): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined) continue;
    const path = key.split(".");
    const last = path.pop() ?? key;
    let at = root;
    for (const name of path) {
      at[name] ??= {};
      at = at[name] as Record<string, unknown>;
    }
    at[last] = value;
  }
  return root;
}

function addOrigin(document: Document, path: Path, key: SettingKey, origins: OriginsByKey): void {
  const node = document.getIn(path, true);
  const { form } = settingOf(key);
  // One rule a line reads better; that leaves no line for the comment.
  if (!isNode(node) || form === "rules" || form === "endpoints") return;
  if (!isScalar(node)) Object.assign(node, { flow: true });
  node.comment = ` ${origins.get(key)?.place ?? "default"}`;
}

function addSecrets(
  document: Document,
  path: Path,
  section: keyof typeof secrets,
  origins: OriginsByKey,
): void {
  const map = document.getIn(path, true);
  if (!isMap(map)) return;
  const comments = secrets[section].flatMap((key) => {
    const origin = origins.get(key);
    return origin === undefined ? [] : ` ${key.slice(section.length + 1)}: not shown, from ${origin.place}`;
  });
  if (comments.length > 0) map.comment = comments.join("\n");
}

/** Says what of an endpoint is not printed. */
function addHidden(document: Document, path: Path, { headers, url }: NotificationEndpointConfig): void {
  const map = document.getIn(path, true);
  const names = headers.filter(({ file }) => file === undefined).map(({ name }) => name);
  const hidden = [
    ...(url.search === "" ? [] : [" the URL's query: not shown"]),
    ...(names.length === 0 ? [] : [` headers: not shown (${names.join(", ")})`]),
  ];
  if (isMap(map) && hidden.length > 0) map.comment = hidden.join("\n");
}
