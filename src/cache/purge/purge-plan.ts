// What goes when an operator deletes a tag, an image or a repository from the cache, and what stays because something else uses
// it. By the image graph and the links of this node; other nodes are asked who uses what there (Purger).
import { setImmediate } from "node:timers/promises";
import type { Role } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { PurgeSubject } from "../../ports/purge/purges.ts";
import type { BlobIndex, BlobUser, ImageGraph, Leaving, NamingTag, TagRecord } from "../../ports/records.ts";
import { isSameScope, type Scope } from "../../ports/scope.ts";

/** Parts of one purge that are looked at; of a repository with more, another purge takes the rest. */
const maxLooked = 20_000;
/** Rows read, and parts looked at, in one turn of the event loop. */
const rowsAtOnce = 2_000;
const looksAtOnce = 50;
const maxRepositories = 1_000;
const maxReferrers = 1_000;

export interface PurgePlanOptions {
  readonly graph: Pick<ImageGraph, "parts" | "referrers" | "userBesides" | "users">;
  readonly index: Pick<BlobIndex, "get">;
  /** The record that counts on this node. */
  readonly record: (scope: Scope, tag: Tag) => Promise<TagRecord | undefined>;
  /** Tags of the repository that this node has a record of, in order, after `last`. */
  readonly tagsOf: (
    scope: Scope,
    last: string,
    limit: number,
  ) => readonly { readonly tag: Tag; readonly digest: Digest; readonly checkedAt: number }[];
  readonly repositoriesOf: (digest: Digest, limit: number) => readonly Scope[];
  /** Digests of the repository, a page of all links at a time: `after` is the `next` of the page before. */
  readonly linked: (
    scope: Scope,
    after: unknown,
    limit: number,
  ) => { readonly digests: readonly Digest[]; readonly next: unknown };
}

export interface PlannedPart {
  readonly digest: Digest;
  readonly role: Role;
  /** Bytes; undefined when it is not here and nothing states them. */
  readonly size: number | undefined;
  readonly here: boolean;
}

export interface PlannedTag extends Scope {
  readonly tag: Tag;
  readonly digest: Digest | undefined;
  readonly checkedAt: number;
}

export interface PurgePlan {
  /** Repositories that lose what goes. */
  readonly scopes: readonly Scope[];
  readonly tags: readonly PlannedTag[];
  /** Manifests before what they name. */
  readonly goes: readonly PlannedPart[];
  readonly stays: readonly (PlannedPart & { readonly user: PartUser })[];
  /** There is more than is looked at. */
  readonly truncated: boolean;
}

/** `node`: of that name. */
export type PartUser = BlobUser | { readonly by: "node"; readonly name: string };

/** What goes, by what others may know of: see PurgePlanOptions. All methods throw, or reject with, StoreError. */
export class PurgePlans {
  readonly #options: PurgePlanOptions;

  constructor(options: PurgePlanOptions) {
    this.#options = options;
  }

  /** `parts`: what is known elsewhere to go with it. `counts`: whether a tag's record is from before the purge. */
  async plan(
    subject: PurgeSubject,
    parts: readonly Digest[] = [],
    counts: (tag: { readonly checkedAt: number }) => boolean = () => true,
  ): Promise<PurgePlan> {
    const tags = (await this.#tags(subject)).filter(counts);
    const candidates = new Map<Digest, PlannedPart>();
    const roots = rootsOf(subject, tags);
    const linked = await this.#linked(subject);
    let truncated = linked.truncated;
    truncated = (await this.#closeAll(candidates, [...roots, ...linked.digests, ...parts])) || truncated;
    const leaving = this.leaving(subject, candidates);
    const goes: PlannedPart[] = [];
    const stays: (PlannedPart & { user: PartUser })[] = [];
    let looked = 0;
    // What names others first, so that it is not looked at again for each of them.
    const isManifest = ({ role }: PlannedPart): number => (role === "manifest" ? 0 : 1);
    for (const part of [...candidates.values()].sort((a, b) => isManifest(a) - isManifest(b))) {
      // Requests have their turn meanwhile.
      if (++looked % looksAtOnce === 0) await setImmediate();
      const user = leaving.regardless.has(part.digest)
        ? undefined
        : this.#options.graph.userBesides(part.digest, leaving);
      if (user === undefined) goes.push(part);
      else stays.push({ ...part, user });
    }
    return { scopes: this.#scopes(subject), tags, goes, stays, truncated };
  }

  /** Of these digests those that something here uses besides what goes. */
  async used(subject: PurgeSubject, digests: readonly Digest[]): Promise<ReadonlyMap<Digest, BlobUser>> {
    const goes = new Map<Digest, PlannedPart>();
    // Who asks names some of what goes. Of a repository `leaving` knows the rest.
    if (subject.tag !== undefined || subject.digest !== undefined)
      await this.#closeAll(goes, rootsOf(subject, await this.#tags(subject)));
    const asked = new Set(digests);
    const leaving = this.leaving(subject, { has: (digest) => goes.has(digest) || asked.has(digest) });
    const used = new Map<Digest, BlobUser>();
    for (const [at, digest] of digests.entries()) {
      if (at % looksAtOnce === looksAtOnce - 1) await setImmediate();
      if (leaving.regardless.has(digest)) continue;
      const user = this.#options.graph.userBesides(digest, leaving);
      if (user !== undefined) used.set(digest, user);
    }
    return used;
  }

  /** The plan without these parts, which other nodes use, and without what they name. */
  async without(plan: PurgePlan, used: ReadonlyMap<Digest, string>): Promise<PurgePlan> {
    if (used.size === 0) return plan;
    const kept = new Map<Digest, string>();
    let looked = 0;
    for (const [digest, name] of used) {
      if (++looked % looksAtOnce === 0) await setImmediate();
      const below = new Map<Digest, PlannedPart>();
      this.#close(below, digest);
      for (const each of below.keys()) kept.set(each, kept.get(each) ?? name);
    }
    const stays = plan.goes.flatMap((part) => {
      const name = kept.get(part.digest);
      return name === undefined ? [] : [{ ...part, user: { by: "node", name } as const }];
    });
    return {
      ...plan,
      goes: plan.goes.filter(({ digest }) => !kept.has(digest)),
      stays: [...plan.stays, ...stays],
    };
  }

  leaving(subject: PurgeSubject, candidates: Pick<ReadonlySet<Digest>, "has">): Leaving {
    const { scope, tag, digest } = subject;
    const scopes = this.#scopes(subject);
    const loses = (each: Scope): boolean => scopes.some((lost) => isSameScope(lost, each));
    if (tag !== undefined)
      return {
        digests: candidates,
        regardless: new Set(),
        unused: new Set(),
        loses,
        tagGoes: (each) => loses(each) && each.tag === tag,
      };
    if (digest !== undefined) {
      const tagGoes = (each: NamingTag): boolean => loses(each) && each.digest === digest;
      const regardless = this.#regardless(digest, scope);
      return { digests: candidates, regardless, unused: new Set(), loses, tagGoes };
    }
    const has = (each: Digest): boolean =>
      candidates.has(each) || this.#options.repositoriesOf(each, maxRepositories).some(loses);
    return { digests: { has }, regardless: new Set(), unused: new Set(), loses, tagGoes: loses };
  }

  /** The image itself, when it is asked for by its digest, unless another repository has it. */
  #regardless(digest: Digest, scope: Scope | undefined): ReadonlySet<Digest> {
    const { graph, repositoriesOf } = this.#options;
    const isOther = (each: Scope): boolean => scope !== undefined && !isSameScope(each, scope);
    const named = graph
      .users(digest, maxRepositories)
      .tags.some((tag) => tag.digest === digest && isOther(tag));
    return new Set(named || repositoriesOf(digest, maxRepositories).some(isOther) ? [] : [digest]);
  }

  #scopes({ scope, digest }: PurgeSubject): readonly Scope[] {
    if (scope !== undefined) return [scope];
    return digest === undefined ? [] : this.#options.repositoriesOf(digest, maxRepositories);
  }

  async #tags(subject: PurgeSubject): Promise<readonly PlannedTag[]> {
    const { graph, record, tagsOf } = this.#options;
    const { scope, tag, digest } = subject;
    if (scope !== undefined && tag !== undefined) {
      const known = await record(scope, tag);
      return known === undefined ? [] : [{ ...scope, tag, digest: known.digest, checkedAt: known.checkedAt }];
    }
    if (digest !== undefined) {
      const goes = this.leaving(subject, new Set([digest])).tagGoes;
      const tags = graph.users(digest, maxRepositories).tags.filter(goes);
      return tags.map((each) => ({ ...each, tag: each.tag as Tag, checkedAt: 0 }));
    }
    if (scope === undefined) return [];
    const tags: PlannedTag[] = [];
    for (let last = ""; tags.length < maxLooked; ) {
      const page = tagsOf(scope, last, rowsAtOnce);
      tags.push(...page.map((each) => ({ ...scope, ...each })));
      if (page.length < rowsAtOnce) break;
      last = page.at(-1)?.tag ?? last;
      await setImmediate();
    }
    return tags;
  }

  /** Of a whole repository what is known to be in it. */
  async #linked({
    scope,
    tag,
    digest,
  }: PurgeSubject): Promise<{ readonly digests: readonly Digest[]; readonly truncated: boolean }> {
    if (scope === undefined || tag !== undefined || digest !== undefined)
      return { digests: [], truncated: false };
    const digests: Digest[] = [];
    for (let after: unknown; ; ) {
      const page = this.#options.linked(scope, after, rowsAtOnce);
      digests.push(...page.digests);
      if (page.next === undefined || digests.length >= maxLooked) break;
      after = page.next;
      await setImmediate();
    }
    return { digests: digests.slice(0, maxLooked), truncated: digests.length >= maxLooked };
  }

  /** See #close. Requests have their turn meanwhile. */
  async #closeAll(parts: Map<Digest, PlannedPart>, roots: readonly Digest[]): Promise<boolean> {
    let truncated = false;
    let looked = 0;
    for (const digest of new Set(roots)) {
      if (++looked % looksAtOnce === 0) await setImmediate();
      truncated = this.#close(parts, digest) || truncated;
    }
    return truncated;
  }

  /** Adds it with all it names and what refers to it. True when there is more than is looked at. */
  #close(parts: Map<Digest, PlannedPart>, root: Digest): boolean {
    const { graph, index } = this.#options;
    const waiting: PlannedPart[] = [this.#part(root)];
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (parts.has(next.digest)) continue;
      if (parts.size === maxLooked) return true;
      parts.set(next.digest, next);
      if (next.role !== "manifest") continue;
      for (const { digest, role, size } of graph.parts(next.digest, maxLooked)) {
        const known = index.get(digest);
        waiting.push({ digest, role, size: known?.size ?? size, here: known !== undefined });
      }
      for (const digest of graph.referrers(next.digest, maxReferrers)) waiting.push(this.#part(digest));
    }
    return false;
  }

  #part(digest: Digest): PlannedPart {
    const known = this.#options.index.get(digest);
    // What is not known by a manifest is one when it names something.
    const isManifest =
      known?.mediaType !== undefined ||
      (known === undefined && this.#options.graph.parts(digest, 1).length > 0);
    return {
      digest,
      role: isManifest ? "manifest" : "layer",
      size: known?.size,
      here: known !== undefined,
    };
  }
}

function rootsOf({ digest }: PurgeSubject, tags: readonly PlannedTag[]): readonly Digest[] {
  return [digest, ...tags.map((tag) => tag.digest)].filter((each) => each !== undefined);
}
