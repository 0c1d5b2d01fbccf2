// Which repository contains which digest, in Redis: a set for each repository. Sizes are a key for each digest besides:
// they are asked for without a repository, and a set and a few small keys need no scanning and go by themselves.

import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { LinkedBlob, LinkStore } from "../../ports/records.ts";
import { garbageNotice, type RedisConnection, valueAt, wrongType } from "./connection.ts";

/** Milliseconds after the last addition. */
const lifetime = 30 * 86_400_000;
/** Digests in one command: a long script keeps everybody else waiting. */
const batch = 500;

export interface RedisLinksOptions {
  readonly connection: RedisConnection;
  readonly notices: NoticeSink;
}

/** Only links that count are put here. Everything rejects with StoreError `unavailable` in bounded time. */
export class RedisLinks implements LinkStore {
  readonly #connection: RedisConnection;
  readonly #notices: NoticeSink;

  constructor({ connection, notices }: RedisLinksOptions) {
    this.#connection = connection;
    this.#notices = notices;
  }

  async has(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    const key = this.#connection.keys.links(upstream, repository);
    const reply = await this.#connection.run("read a link", (client) =>
      valueAt(client.sismember(key, digest)),
    );
    if (reply === wrongType) this.#notices(garbageNotice("redis.links.has", key));
    return reply === 1;
  }

  /** What is in Redis has been shown to some node. */
  named(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    return this.has(upstream, repository, digest);
  }

  async add(upstream: string, repository: Repository, blobs: readonly LinkedBlob[]): Promise<void> {
    const { keys } = this.#connection;
    const key = keys.links(upstream, repository);
    const counting = blobs.filter(({ named }) => !named);
    for (let at = 0; at < counting.length; at += batch) {
      const some = counting.slice(at, at + batch);
      await this.#connection.run("write links", (client) =>
        Promise.all([
          client.addLinks(key, lifetime, ...some.map(({ digest }) => digest)),
          ...some.flatMap(({ digest, size }) =>
            size === undefined ? [] : client.addSize(keys.size(digest), size, lifetime),
          ),
        ]),
      );
    }
  }

  async remove(upstream: string, repository: Repository, digest: Digest): Promise<void> {
    const key = this.#connection.keys.links(upstream, repository);
    const reply = await this.#connection.run("remove a link", (client) => valueAt(client.srem(key, digest)));
    if (reply === wrongType) this.#notices(garbageNotice("redis.links.remove", key));
  }

  async statedSize(_upstream: string, _repository: Repository, digest: Digest): Promise<number | undefined> {
    const key = this.#connection.keys.size(digest);
    const text = await this.#connection.run("read a size", (client) => valueAt(client.get(key)));
    if (text === undefined) return undefined;
    const size = typeof text === "string" && /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(size)) return size;
    this.#notices(garbageNotice("redis.links.size", key));
    return undefined;
  }
}
