// Tag records in Redis: one value each, so that a record is never there in part.

import { parseDigest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { TagRecord, TagStore } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { malformedNotice, type RedisConnection, valueAt } from "./connection.ts";

export interface RedisTagsOptions {
  readonly connection: RedisConnection;
  /** Milliseconds a record is kept after it was put: as long as it may be of use, 1 s to a year. */
  readonly lifetime: () => number;
  readonly notices: NoticeSink;
}

const minLifetime = 1_000;
const maxLifetime = 365 * 86_400_000;

/** Every method rejects with StoreError `unavailable` in bounded time. A malformed value counts as absent. */
export class RedisTags implements TagStore {
  readonly #connection: RedisConnection;
  readonly #lifetime: () => number;
  readonly #notices: NoticeSink;

  constructor({ connection, lifetime, notices }: RedisTagsOptions) {
    this.#connection = connection;
    this.#lifetime = () => Math.round(Math.min(Math.max(lifetime(), minLifetime), maxLifetime));
    this.#notices = notices;
  }

  async get(scope: Scope, tag: Tag): Promise<TagRecord | undefined> {
    const key = this.#connection.keys.tag(scope, tag);
    const text = await this.#connection.run("read a tag record", (client) => valueAt(client.get(key)));
    if (text === undefined) return undefined;
    const record = typeof text === "string" ? parseRecord(text) : undefined;
    if (record === undefined) this.#notices(malformedNotice("redis.tags.get", key));
    return record;
  }

  async put(scope: Scope, tag: Tag, record: TagRecord): Promise<boolean> {
    const key = this.#connection.keys.tag(scope, tag);
    const { digest, mediaType, size } = record;
    // Before the epoch is as long ago as the epoch.
    const checkedAt = Math.min(Math.max(Math.floor(record.checkedAt), 0), lastTime);
    const text = JSON.stringify({ digest, mediaType, size, checkedAt });
    const put = (malformed: string): Promise<string | null> =>
      this.#connection.run("write a tag record", (client) =>
        client.putTag(key, text, checkedAt, this.#lifetime(), malformed),
      );
    const stored = await put("");
    if (stored === null) return true;
    if (parseRecord(stored) !== undefined) return false;
    this.#notices(malformedNotice("redis.tags.put", key));
    return (await put(stored)) === null;
  }

  async delete(scope: Scope, tag: Tag): Promise<void> {
    const key = this.#connection.keys.tag(scope, tag);
    await this.#connection.run("delete a tag record", (client) => client.del(key));
  }
}

/** Undefined for anything but a record as it is written here. */
function parseRecord(text: string): TagRecord | undefined {
  try {
    const { digest, mediaType, size, checkedAt } = JSON.parse(text) as Record<string, unknown>;
    const parsed = typeof digest === "string" ? parseDigest(digest) : undefined;
    if (parsed === undefined || typeof mediaType !== "string" || mediaType.length > maxMediaType)
      return undefined;
    if (!isCount(size) || !isCount(checkedAt) || checkedAt > lastTime) return undefined;
    return { digest: parsed, mediaType, size, checkedAt };
  } catch {
    return undefined;
  }
}

/** RFC 6838 section 4.2 allows 127 characters on each side of the slash. */
const maxMediaType = 255;

/** The last time there is, in milliseconds since the epoch (ECMA-262, "Time Values"). */
const lastTime = 8.64e15;

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
