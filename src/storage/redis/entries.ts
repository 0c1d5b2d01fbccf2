// What nodes tell each other by a list that each keeps for itself, in Redis: a hash by ids, each value as nodes write it. An id says
// enough of its entry to be kept or not, so that a node reads what it does not know, and whoever comes across one that is too old,
// or one too many, removes it.
import type { NoticeSink } from "../../ports/event.ts";
import { malformedNotice, type RedisConnection, valueAt, wrongType } from "./connection.ts";
import type { RedisKeys } from "./keys.ts";

/** Values read in one command, and fields removed. */
const batch = 50;
const maxRemoved = 1_000;

export interface RedisEntriesOptions<Entry> {
  readonly connection: RedisConnection;
  /** Of the hash. */
  readonly key: (keys: RedisKeys) => string;
  /** For messages: `purges`. */
  readonly name: string;
  /** Of these ids those of entries that are kept. */
  readonly kept: (ids: readonly string[], now: number) => readonly string[];
  readonly write: (entry: Entry, keys: RedisKeys) => string | undefined;
  readonly read: (text: string, keys: RedisKeys) => Entry | undefined;
  /** Milliseconds after the last entry in which all of them go; left out: never. */
  readonly lifetime?: number;
  readonly notices: NoticeSink;
}

export class RedisEntries<Entry> {
  readonly #options: RedisEntriesOptions<Entry>;

  constructor(options: RedisEntriesOptions<Entry>) {
    this.#options = options;
  }

  /**
   * Gives those of `own` that are not there, and resolves with those there that are not in `own`. Rejects with StoreError
   * `unavailable` in bounded time.
   */
  async exchange(
    own: readonly string[],
    get: (id: string) => Entry | undefined,
    now: number,
  ): Promise<readonly Entry[]> {
    const { connection, name, notices } = this.#options;
    const key = this.#options.key(connection.keys);
    const listed = await connection.run(`list ${name}`, (client) => valueAt(client.hkeys(key)));
    if (listed === wrongType) {
      notices(malformedNotice(`redis.${name}`, key));
      await connection.run(`remove what is no ${name}`, (client) => client.del(key));
    }
    const there = Array.isArray(listed) ? listed.map(String) : [];
    const kept = new Set(this.#options.kept(there, now));
    const over = there.filter((id) => !kept.has(id));
    if (over.length > 0)
      await connection.run(`remove old ${name}`, (client) => client.hdel(key, ...over.slice(0, maxRemoved)));
    await this.#give(
      key,
      own.filter((id) => !kept.has(id)),
      get,
    );
    const known = new Set(own);
    return await this.#take(
      key,
      [...kept].filter((id) => !known.has(id)),
    );
  }

  async #give(key: string, ids: readonly string[], get: (id: string) => Entry | undefined): Promise<void> {
    const { connection, name, write, lifetime } = this.#options;
    for (const id of ids) {
      const entry = get(id);
      const text = entry && write(entry, connection.keys);
      if (text === undefined) continue;
      await connection.run(`write ${name}`, (client) =>
        Promise.all([
          client.hset(key, id, text),
          ...(lifetime === undefined ? [] : [client.pexpire(key, lifetime)]),
        ]),
      );
    }
  }

  async #take(key: string, ids: readonly string[]): Promise<Entry[]> {
    const { connection, name, read } = this.#options;
    const entries: Entry[] = [];
    for (let at = 0; at < ids.length; at += batch) {
      const texts = await connection.run(`read ${name}`, (client) =>
        client.hmget(key, ...ids.slice(at, at + batch)),
      );
      for (const text of texts) {
        const entry = text === null ? undefined : read(text, connection.keys);
        if (entry !== undefined) entries.push(entry);
      }
    }
    return entries;
  }
}
