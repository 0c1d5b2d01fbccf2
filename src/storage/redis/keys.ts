// How keys and channels are named in Redis. What is in braces decides the slot of a key in a Cluster: everything about
// one repository is in one slot (Redis Cluster specification, "Hash tags").
import { createHash } from "node:crypto";
import type { UpstreamConfig } from "../../config/config.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Repository, Tag } from "../../oci/name.ts";

/** What tells one registry from another. */
export type NamedUpstream = Pick<UpstreamConfig, "name" | "url" | "repositoryPrefix">;

/** The prefix of the configuration, which has no braces, before every key. */
export class RedisKeys {
  readonly #prefix: string;
  readonly #database: number;
  readonly #ids: ReadonlyMap<string, string>;
  readonly #names: ReadonlyMap<string, string>;

  constructor(prefix: string, database: number, upstreams: readonly NamedUpstream[]) {
    this.#prefix = prefix;
    this.#database = database;
    this.#ids = new Map(upstreams.map((upstream) => [upstream.name, idOf(upstream)]));
    this.#names = new Map([...this.#ids].map(([name, id]) => [id, name]));
  }

  /**
   * What all nodes call an upstream: its name and a mark of its address. Two mirrors may share one Redis and mean
   * different registries by one name; they must not believe each other. Throws RangeError for one not configured.
   */
  upstream(name: string): string {
    const id = this.#ids.get(name);
    if (id === undefined) throw new RangeError(`no upstream is called ${name}`);
    return id;
  }

  /** The name here of what all nodes call so; undefined for an upstream this node does not have. */
  nameOf(id: string): string | undefined {
    return this.#names.get(id);
  }

  /** Names of upstreams have no slash and repositories neither braces nor colons, so no two of these are equal. */
  tag(upstream: string, repository: Repository, tag: Tag): string {
    return `${this.#prefix}{${this.upstream(upstream)}/${repository}}:tag:${tag}`;
  }

  links(upstream: string, repository: Repository): string {
    return `${this.#prefix}{${this.upstream(upstream)}/${repository}}:links`;
  }

  size(digest: Digest): string {
    return `${this.#prefix}size:${digest}`;
  }

  lease(key: string): string {
    return `${this.#prefix}lease:${key}`;
  }

  get nodes(): string {
    return `${this.#prefix}nodes`;
  }

  /** Channels know no databases: mirrors that use different ones do not hear each other. */
  get announcements(): string {
    return `${this.#prefix}announcements:${this.#database}`;
  }
}

function idOf({ name, url, repositoryPrefix }: NamedUpstream): string {
  const mark = createHash("sha256").update(`${url.href}\n${repositoryPrefix}`).digest("hex").slice(0, 12);
  return `${name}@${mark}`;
}
