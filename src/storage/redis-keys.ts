// How keys and channels are named in Redis. What is in braces decides the slot of a key in a Cluster: everything about
// one repository is in one slot (Redis Cluster specification, "Hash tags").
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/name.ts";

/** The prefix of the configuration, which has no braces, before every key. */
export class RedisKeys {
  readonly #prefix: string;
  readonly #database: number;

  constructor(prefix: string, database: number) {
    this.#prefix = prefix;
    this.#database = database;
  }

  /** Names of upstreams have no slash and repositories neither braces nor colons, so no two of these are equal. */
  tag(upstream: string, repository: Repository, tag: Tag): string {
    return `${this.#prefix}{${upstream}/${repository}}:tag:${tag}`;
  }

  links(upstream: string, repository: Repository): string {
    return `${this.#prefix}{${upstream}/${repository}}:links`;
  }

  size(digest: Digest): string {
    return `${this.#prefix}size:${digest}`;
  }

  lease(key: string): string {
    return `${this.#prefix}lease:${key}`;
  }

  /** Channels know no databases: mirrors that use different ones do not hear each other. */
  get announcements(): string {
    return `${this.#prefix}announcements:${this.#database}`;
  }
}
