// The resolved configuration as YAML for `entrepot check`: a file that can be given back with --config, except that
// it never holds the password.
import { Document, isMap, isScalar } from "yaml";
import { formatAddress } from "./address.ts";
import type { Config, TagRule } from "./config.ts";
import type { Origins } from "./load.ts";
import { type SettingKey, settingKeys } from "./settings.ts";
import { formatDuration, formatPercent, formatSize } from "./units.ts";

type Printed = string | number | boolean | readonly { match: string; ttl: string }[] | undefined;

function printed(config: Config): Readonly<Record<SettingKey, Printed>> {
  const [upstream] = config.upstreams;
  return {
    listen: formatAddress(config.listen),
    opsListen: formatAddress(config.ops),
    catalog: config.catalog,
    drainTimeout: formatDuration(config.drainTimeout),
    drainDelay: formatDuration(config.drainDelay),
    "log.level": config.logLevel,
    "upstream.name": upstream.name,
    "upstream.url": upstream.url.href,
    "upstream.username": upstream.auth.kind === "basic" ? upstream.auth.username : undefined,
    "upstream.password": undefined,
    "upstream.passwordFile": undefined,
    "upstream.connectTimeout": formatDuration(upstream.connectTimeout),
    "upstream.firstByteTimeout": formatDuration(upstream.firstByteTimeout),
    "upstream.idleTimeout": formatDuration(upstream.idleTimeout),
    "upstream.maxConnections": upstream.maxConnections,
    "cache.dir": config.cache.directory,
    "cache.maxSize": formatSize(config.cache.maxSize),
    "cache.evictTo": formatPercent(config.cache.evictTo),
    "cache.keepFree": formatPercent(config.cache.keepFree),
    "tags.ttl": formatDuration(config.tags.ttl),
    "tags.staleIfError": formatDuration(config.tags.staleIfError),
    "tags.rules": config.tags.rules.map(({ match, ttl }: TagRule) => ({ match, ttl: formatDuration(ttl) })),
  };
}

/** YAML with a comment on every line saying where the value came from. The password appears as a comment only. */
export function renderConfig(config: Config, origins: Origins): string {
  const values = printed(config);
  const keys = settingKeys.filter((key) => values[key] !== undefined);
  const document = new Document(nested(keys.map((key) => [key, values[key]])));
  for (const key of keys) {
    const node = document.getIn(key.split("."), true);
    if (isScalar(node)) node.comment = ` ${origins.get(key) ?? "default"}`;
  }
  const secret = origins.get("upstream.password") ?? origins.get("upstream.passwordFile");
  const upstream = document.get("upstream", true);
  if (secret !== undefined && isMap(upstream)) upstream.comment = ` password: not shown, from ${secret}`;
  return document.toString({ lineWidth: 0 });
}

/** `a.b` becomes b in a; keys have at most two parts. */
function nested(entries: readonly (readonly [SettingKey, Printed])[]): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [key, value] of entries) {
    const [first = "", second] = key.split(".");
    if (second === undefined) root[first] = value;
    else root[first] = { ...(root[first] as object | undefined), [second]: value };
  }
  return root;
}
