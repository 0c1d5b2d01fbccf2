// The names of keys and channels in Redis. The part in braces decides the slot of a key in a Cluster, so everything
// about a repository is in one slot (Redis Cluster specification, "Hash tags").
import { createHash } from "node:crypto";
import type { UpstreamConfig } from "../../config/config.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { Scope } from "../../ports/scope.ts";

/** What identifies a registry. */
export type NamedUpstream = Pick<UpstreamConfig, "name" | "url" | "repositoryPrefix">;

/** Every key begins with the prefix of the configuration, which has no braces. */
export class RedisKeys {
  readonly #prefix: string;
  readonly #database: number;
  /** Also of upstreams there are no more: what was begun for them ends. */
  readonly #ids = new Map<string, string>();
  #names: ReadonlyMap<string, string> = new Map();

  constructor(prefix: string, database: number, upstreams: readonly NamedUpstream[]) {
    this.#prefix = prefix;
    this.#database = database;
    this.use(upstreams);
  }

  /** From now on these upstreams are configured. */
  use(upstreams: readonly NamedUpstream[]): void {
    for (const upstream of upstreams) this.#ids.set(upstream.name, idOf(upstream));
    this.#names = new Map(upstreams.map((upstream) => [idOf(upstream), upstream.name]));
  }

  /**
   * The identifier all nodes use for an upstream: its name and a hash of its address. Two mirrors that share one Redis
   * may use one name for different registries, and must not mix their content. Throws RangeError for an upstream not
   * configured.
   */
  upstream(name: string): string {
    const id = this.#ids.get(name);
    if (id === undefined) throw new RangeError(`no upstream is called ${name}`);
    return id;
  }

  /** The name of the upstream with that identifier; undefined when this node does not have it. */
  nameOf(id: string): string | undefined {
    return this.#names.get(id);
  }

  /** Unambiguous: names of upstreams have no slash, repositories neither braces nor colons. */
  tag(scope: Scope, tag: Tag): string {
    return `${this.#slot(scope)}:tag:${tag}`;
  }

  links(scope: Scope): string {
    return `${this.#slot(scope)}:links`;
  }

  #slot({ upstream, repository }: Scope): string {
    return `${this.#prefix}{${this.upstream(upstream)}/${repository}}`;
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

  get summaries(): string {
    return `${this.#prefix}summaries`;
  }

  /** With the database in its name, because all databases of a server share their channels. */
  get announcements(): string {
    return `${this.#prefix}announcements:${this.#database}`;
  }
}

function idOf({ name, url, repositoryPrefix }: NamedUpstream): string {
  const hash = createHash("sha256").update(`${url.href}\n${repositoryPrefix}`).digest("hex").slice(0, 12);
  return `${name}@${hash}`;
}
