// Which repository contains which digest, in Redis: a set for each repository. Sizes have a key for each digest,
// because they are read without a repository. All of them expire, so nothing has to be scanned or swept.

import type { Digest } from "../../oci/digest.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { LinkedBlob, LinkRemoval, LinkStore } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { malformedNotice, type RedisConnection, valueAt, wrongType } from "./connection.ts";

/** Milliseconds after the last addition. */
const lifetime = 30 * 86_400_000;
/** Digests in one command: a long script delays all other clients of Redis. */
const batch = 500;

export interface RedisLinksOptions {
  readonly connection: RedisConnection;
  readonly notices: NoticeSink;
}

/** Holds only links that upstream confirmed. Every method rejects with StoreError `unavailable` in bounded time. */
export class RedisLinks implements LinkStore {
  readonly #connection: RedisConnection;
  readonly #notices: NoticeSink;

  constructor({ connection, notices }: RedisLinksOptions) {
    this.#connection = connection;
    this.#notices = notices;
  }

  async has(scope: Scope, digest: Digest): Promise<boolean> {
    const key = this.#connection.keys.links(scope);
    const reply = await this.#connection.run("read a link", (client) =>
      valueAt(client.sismember(key, digest)),
    );
    if (reply === wrongType) this.#notices(malformedNotice("redis.links.has", key));
    return reply === 1;
  }

  /** The same as `has`: upstream has confirmed every link in Redis to some node. */
  named(scope: Scope, digest: Digest): Promise<boolean> {
    return this.has(scope, digest);
  }

  async add(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void> {
    const { keys } = this.#connection;
    const key = keys.links(scope);
    const confirmed = blobs.filter(({ named }) => !named);
    for (let at = 0; at < confirmed.length; at += batch) {
      const some = confirmed.slice(at, at + batch);
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

  async remove(scope: Scope, digest: Digest): Promise<void> {
    const key = this.#connection.keys.links(scope);
    const reply = await this.#connection.run("remove a link", (client) => valueAt(client.srem(key, digest)));
    if (reply === wrongType) this.#notices(malformedNotice("redis.links.remove", key));
  }

  async removeAll(
    scope: Scope,
    digests: readonly Digest[],
    { whole = false }: LinkRemoval = {},
  ): Promise<boolean> {
    const key = this.#connection.keys.links(scope);
    if (whole) {
      await this.#connection.run("remove a repository's links", (client) => client.del(key));
      return true;
    }
    for (let at = 0; at < digests.length; at += batch) {
      const some = digests.slice(at, at + batch);
      const reply = await this.#connection.run("remove links", (client) =>
        valueAt(client.srem(key, ...some)),
      );
      if (reply === wrongType) this.#notices(malformedNotice("redis.links.remove", key));
    }
    return true;
  }

  async statedSize(_scope: Scope, digest: Digest): Promise<number | undefined> {
    const key = this.#connection.keys.size(digest);
    const text = await this.#connection.run("read a size", (client) => valueAt(client.get(key)));
    if (text === undefined) return undefined;
    const size = typeof text === "string" && /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(size)) return size;
    this.#notices(malformedNotice("redis.links.size", key));
    return undefined;
  }
}
