// Confirms tags that clients ask for regularly before they expire, so that nobody has to wait for upstream: one HEAD for each,
// by one node of the datacenter, within what upstream allows and behind everything clients wait for. Whatever goes wrong, the
// next client asks upstream as it would have done.
import type { Tag } from "../../oci/name.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink, TagRefreshResult } from "../../ports/event.ts";
import type { TagRecord } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import type { Lease, Leases } from "../../ports/shared.ts";
import { remoteRepository, type Upstream, UpstreamError } from "../../ports/upstream.ts";
import type { Manifests } from "../manifests.ts";
import type { RegularTags, WatchedTag } from "./regular-tags.ts";

/** Milliseconds between two looks at the tags that are due. */
export const lookInterval = 250;
/** Milliseconds after which a tag is looked at again for which no connection was free, or which another node confirms. */
const againAfter = 1_000;
/** Milliseconds in which nothing is confirmed ahead at an upstream that wanted to be left alone. */
const restAfterLimit = 600_000;

export interface RefreshAheadOptions {
  readonly regular: RegularTags;
  readonly manifests: Pick<Manifests, "fresh" | "confirmAhead">;
  /** Those of now. */
  readonly upstreams: () => readonly Upstream[];
  /** Whether the upstream of that name may be asked for nobody in particular. */
  readonly mayAsk: (upstream: string) => boolean;
  /** Share, 0 to 1, of what an upstream allows that may be spent; 0: nothing is confirmed ahead. Read at every use. */
  readonly share: () => number;
  /** Left out: no other node has the same tags. */
  readonly leases?: Leases | undefined;
  readonly notices: NoticeSink;
  readonly steady: Clock;
}

export class RefreshAhead {
  readonly #options: RefreshAheadOptions;
  /** Until when nothing is asked, by name of the upstream: as many as are configured. */
  readonly #resting = new Map<string, number>();

  constructor(options: RefreshAheadOptions) {
    this.#options = options;
  }

  /** A client was answered by another process of this node. */
  asked(scope: Scope, tag: Tag): void {
    this.#options.regular.asked(scope, tag);
  }

  /** Confirms the tags that are due, of those that clients ask for regularly. Resolves when that is done; never rejects. */
  async look(): Promise<void> {
    const { regular, share } = this.#options;
    const due = regular.due();
    // What fails here fails for the next client as well, who is told.
    if (share() > 0) await Promise.allSettled(due.map((watched) => this.#look(watched)));
  }

  async #look(watched: WatchedTag): Promise<void> {
    const { regular, manifests, upstreams, mayAsk } = this.#options;
    const { scope, tag } = watched;
    const upstream = upstreams().find(({ name }) => name === scope.upstream);
    if (upstream === undefined || upstream.cut !== undefined || !mayAsk(upstream.name)) return;
    const record = await manifests.fresh(scope, tag);
    regular.note(watched, record?.askedAt);
    if (!regular.isInUse(watched)) return regular.idle(watched);
    // The next client asks upstream: of this node, or of another one, of which this one would not know.
    if (record === undefined) return regular.again(watched, watched.ttl);
    if (record.checkedAt !== watched.checkedAt) return this.#isElsewhere(watched, record);
    if (!regular.isRegular(watched)) return regular.again(watched, watched.ttl);
    const reason = this.#heldBack(upstream);
    if (reason !== undefined) this.#note(watched, reason);
    if (reason === "busy") regular.again(watched, againAfter);
    if (reason !== undefined) return;
    const lease = await this.#lease(watched);
    if (lease === "elsewhere") return regular.again(watched, againAfter);
    try {
      await this.#confirm(upstream, watched, lease === undefined ? record : undefined);
    } finally {
      await lease?.release();
    }
  }

  /** Why the upstream is not to be asked now. */
  #heldBack(upstream: Upstream): Extract<TagRefreshResult, "failed" | "rate_limited" | "busy"> | undefined {
    const { steady, share } = this.#options;
    const { name, available, allowance, spare } = upstream;
    if (!available) return "failed";
    if (allowance <= 0) this.#rest(name);
    if (steady() < (this.#resting.get(name) ?? 0) || allowance <= 1 - share()) return "rate_limited";
    // A question that waited for a connection could be joined by a client, who would wait with it.
    return spare ? undefined : "busy";
  }

  /** Undefined: there are no other nodes, or nobody knows of them. */
  async #lease({ scope, tag }: WatchedTag): Promise<Lease | "elsewhere" | undefined> {
    const key = `tag:${scope.upstream}/${scope.repository}:${tag}`;
    const answer = await this.#options.leases?.acquire(key).catch(() => undefined);
    if (answer === undefined) return undefined;
    return "lease" in answer ? answer.lease : "elsewhere";
  }

  /** `known`: its record; left out, it is read again, since the node that had the lease before may have confirmed it. */
  async #confirm(upstream: Upstream, watched: WatchedTag, known: TagRecord | undefined): Promise<void> {
    const { regular, manifests } = this.#options;
    const { scope, tag } = watched;
    const record = known ?? (await manifests.fresh(scope, tag));
    if (record === undefined) return;
    if (record.checkedAt !== watched.checkedAt) return this.#isElsewhere(watched, record);
    try {
      const remote = remoteRepository(upstream, scope.repository);
      const result = await manifests.confirmAhead(remote, tag, record);
      if (result === "refused") regular.forget(watched);
      if (result !== undefined) this.#note(watched, result);
    } catch (error) {
      const limited = error instanceof UpstreamError && error.code === "rate_limited";
      if (limited) this.#rest(upstream.name);
      this.#note(watched, limited ? "rate_limited" : "failed");
    }
  }

  #rest(upstream: string): void {
    this.#resting.set(upstream, this.#options.steady() + restAfterLimit);
  }

  #isElsewhere(watched: WatchedTag, record: TagRecord): void {
    this.#options.regular.schedule(watched, record);
    this.#note(watched, "elsewhere");
  }

  #note({ scope }: WatchedTag, result: TagRefreshResult): void {
    this.#options.notices({ kind: "tag_refresh", upstream: scope.upstream, when: "ahead", result });
  }
}
