// Where settings came from, for `entrepot check`.
import { type Entries, type Entry, originOf, textOf, type UpstreamInput } from "./entry.ts";
import { type SettingKey, settingOf } from "./settings.ts";

export interface Origin {
  /** `ENTREPOT_LISTEN` or `mirror.yaml:3:9`. */
  readonly place: string;
  /** The path that was given, of a setting that names a file whose content alone is in the configuration. */
  readonly path: string | undefined;
}

/** By the keys of the table; what is not there is a default. */
export type OriginsByKey = ReadonlyMap<SettingKey, Origin>;

export interface Origins {
  readonly common: OriginsByKey;
  /** In the order of the configuration. */
  readonly upstreams: readonly OriginsByKey[];
  /** Whether the upstreams stood in a list. */
  readonly listed: boolean;
}

export function originsOf(common: Entries, upstreams: readonly UpstreamInput[], listed: boolean): Origins {
  return {
    common: byKey(common),
    upstreams: upstreams.map(({ entries }) => byKey(entries)),
    listed,
  };
}

function byKey(entries: Entries): OriginsByKey {
  return new Map([...entries].map(([key, entry]) => [key, toOrigin(key, entry)]));
}

function toOrigin(key: SettingKey, entry: Entry): Origin {
  return { place: originOf(entry), path: settingOf(key).shown === "path" ? textOf(entry) : undefined };
}
