// Purges in Redis. An id begins with the time of its purge.
import type { NoticeSink } from "../../ports/event.ts";
import {
  keptIds,
  type Purge,
  type PurgeExchange,
  purgeLifetime,
  readPurge,
  writePurge,
} from "../../ports/purge/purges.ts";
import type { RedisConnection } from "./connection.ts";
import { RedisEntries } from "./entries.ts";

export interface RedisPurgesOptions {
  readonly connection: RedisConnection;
  readonly notices: NoticeSink;
}

/** See RedisEntries. */
export function createRedisPurges(options: RedisPurgesOptions): PurgeExchange {
  return new RedisEntries<Purge>({
    ...options,
    key: (keys) => keys.purges,
    name: "purges",
    kept: keptIds,
    write: (purge, keys) => writePurge(purge, (upstream) => keys.upstream(upstream)),
    read: (text, keys) => readPurge(text, (id) => keys.nameOf(id)),
    lifetime: purgeLifetime,
  });
}
