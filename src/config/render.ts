// The resolved configuration as YAML for `entrepot check`: a file that can be given back with --config, except that
// it never holds a secret.
import { Document, isMap, isNode, isScalar } from "yaml";
import type { Config } from "./config.ts";
import type { Origins, OriginsByKey } from "./origin.ts";
import { type Printed, printedCommon, printedUpstream } from "./printed.ts";
import { commonKeys, type SettingKey, settingOf, upstreamKeys } from "./settings.ts";

/** What may stand in the file or the environment itself and is not shown. */
const secrets = {
  upstream: ["upstream.password", "upstream.authorization"],
  redis: ["redis.password", "redis.sentinelPassword"],
  s3: ["s3.accessKeyId", "s3.secretAccessKey"],
} as const;

type Path = readonly (string | number)[];

/** YAML with a comment on every line saying where the value came from. Secrets appear as comments only. */
export function renderConfig(config: Config, origins: Origins): string {
  const document = new Document(content(config, origins));
  for (const key of commonKeys) addOrigin(document, key.split("."), key, origins.common);
  for (const [index, own] of origins.upstreams.entries()) {
    const path = origins.listed ? ["upstreams", index] : ["upstream"];
    for (const key of upstreamKeys) addOrigin(document, [...path, ...key.split(".").slice(1)], key, own);
    addSecrets(document, path, "upstream", own);
  }
  for (const section of ["redis", "s3"] as const) addSecrets(document, [section], section, origins.common);
  return document.toString({ lineWidth: 0 });
}

/** In the order of the table of settings. */
function content(config: Config, origins: Origins): Record<string, unknown> {
  const { cache, tags, redis, s3, ...others } = nested(printedCommon(config, origins.common));
  const upstreams = config.upstreams.map(
    (upstream, index) => nested(printedUpstream(upstream, origins.upstreams[index] ?? new Map())).upstream,
  );
  return {
    ...others,
    ...(origins.listed ? { upstreams } : { upstream: upstreams[0] }),
    cache,
    tags,
    redis,
    s3,
  };
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
  // One rule a line reads better; that leaves no line for the comment.
  if (!isNode(node) || settingOf(key).form === "rules") return;
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
