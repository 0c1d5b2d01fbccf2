// The names of keys and channels in Redis. The part in braces decides the slot of a key in a Cluster, so everything
// about a repository is in one slot (Redis Cluster specification, "Hash tags").
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import { type NamedUpstream, upstreamId } from "../../ports/datacenter/upstream-id.ts";
import type { Scope } from "../../ports/scope.ts";

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
    for (const upstream of upstreams) this.#ids.set(upstream.name, upstreamId(upstream));
    this.#names = new Map(upstreams.map((upstream) => [upstreamId(upstream), upstream.name]));
  }

  /** Its `upstreamId`. Throws RangeError for an upstream not configured. */
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

  get purges(): string {
    return `${this.#prefix}purges`;
  }

  get blocks(): string {
    return `${this.#prefix}blocks`;
  }

  get summaries(): string {
    return `${this.#prefix}summaries`;
  }

  /** With the database in its name, because all databases of a server share their channels. */
  get announcements(): string {
    return `${this.#prefix}announcements:${this.#database}`;
  }
}
