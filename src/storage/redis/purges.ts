// Purges in Redis: a hash by their ids, each value as nodes write purges to each other. An id begins with the time of its purge,
// so that a node reads what it does not know, and whoever comes across one that is too old, or too many, removes it.
import type { NoticeSink } from "../../ports/event.ts";
import {
  keptIds,
  type Purge,
  type PurgeExchange,
  purgeLifetime,
  readPurge,
  writePurge,
} from "../../ports/purge/purges.ts";
import { malformedNotice, type RedisConnection, valueAt, wrongType } from "./connection.ts";

/** Values read in one command. */
const batch = 50;

export interface RedisPurgesOptions {
  readonly connection: RedisConnection;
  readonly notices: NoticeSink;
}

/** Rejects with StoreError `unavailable` in bounded time. */
export class RedisPurges implements PurgeExchange {
  readonly #connection: RedisConnection;
  readonly #notices: NoticeSink;

  constructor({ connection, notices }: RedisPurgesOptions) {
    this.#connection = connection;
    this.#notices = notices;
  }

  async exchange(
    own: readonly string[],
    get: (id: string) => Purge | undefined,
    now: number,
  ): Promise<readonly Purge[]> {
    const { purges: key } = this.#connection.keys;
    const listed = await this.#connection.run("list purges", (client) => valueAt(client.hkeys(key)));
    if (listed === wrongType) {
      this.#notices(malformedNotice("redis.purges", key));
      await this.#connection.run("remove what is no purges", (client) => client.del(key));
    }
    const there = Array.isArray(listed) ? listed.map(String) : [];
    const kept = keptIds(there, now);
    const over = there.filter((id) => !kept.includes(id));
    if (over.length > 0)
      await this.#connection.run("remove old purges", (client) => client.hdel(key, ...over.slice(0, 1_000)));
    await this.#give(
      key,
      own.filter((id) => !kept.includes(id)),
      get,
    );
    const known = new Set(own);
    return await this.#take(
      key,
      kept.filter((id) => !known.has(id)),
    );
  }

  async #give(key: string, ids: readonly string[], get: (id: string) => Purge | undefined): Promise<void> {
    const { keys } = this.#connection;
    for (const id of ids) {
      const purge = get(id);
      const text = purge && writePurge(purge, (upstream) => keys.upstream(upstream));
      if (text === undefined) continue;
      await this.#connection.run("write a purge", (client) =>
        Promise.all([client.hset(key, id, text), client.pexpire(key, purgeLifetime)]),
      );
    }
  }

  async #take(key: string, ids: readonly string[]): Promise<Purge[]> {
    const { keys } = this.#connection;
    const purges: Purge[] = [];
    for (let at = 0; at < ids.length; at += batch) {
      const texts = await this.#connection.run("read purges", (client) =>
        client.hmget(key, ...ids.slice(at, at + batch)),
      );
      for (const text of texts) {
        const purge = text === null ? undefined : readPurge(text, (id) => keys.nameOf(id));
        if (purge !== undefined) purges.push(purge);
      }
    }
    return purges;
  }
}
