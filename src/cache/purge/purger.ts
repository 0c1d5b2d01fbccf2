// Deletes a tag, an image or a repository from everything of this node, and from what nodes share: records and rights, kept and
// remembered answers, memory, the disk, running fills, S3, Redis. What something else uses stays; what came after the purge
// stays as well, so that a node which hears of it late does no harm.
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { Reference } from "../../oci/reference.ts";
import type { BlobStore } from "../../ports/blobs.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { isBefore, type Purge, type PurgeSubject } from "../../ports/purge/purges.ts";
import type { LinkRemoval } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { eachAtOnce } from "../../ports/turns.ts";
import type { Access } from "../access.ts";
import type { BlobCache } from "../blob-cache.ts";
import type { Confirmations } from "../confirmations.ts";
import type { Sharing } from "../fill/source.ts";
import type { KeptAnswers } from "../kept-answers.ts";
import type { Listings } from "../listings.ts";
import type { LocalBlobs } from "../local-blobs.ts";
import type { Manifests } from "../manifests.ts";
import type { NegativeAnswers } from "../negative-answers.ts";
import { type PlannedPart, type PurgePlan, type PurgePlanOptions, PurgePlans } from "./purge-plan.ts";

/** Files, objects and tags deleted at once. */
const atOnce = 8;
/** Objects of S3 that fail before no more are asked for; the rest is tried again later. */
const maxFailures = 5;

export interface PurgerOptions extends PurgePlanOptions {
  readonly store: { info(digest: Digest): Promise<{ readonly modifiedAt: number } | undefined> } & Pick<
    BlobStore,
    "source"
  >;
  readonly local: LocalBlobs;
  readonly blobs: Pick<BlobCache, "purge">;
  readonly access: Pick<Access, "unlinkAll">;
  readonly manifests: Pick<Manifests, "changed" | "changedElsewhere" | "purged">;
  readonly negative: Pick<NegativeAnswers, "forget">;
  readonly listings: Pick<Listings, "forget">;
  readonly confirmations: Pick<Confirmations, "forget">;
  readonly kept: Pick<KeptAnswers, "clear">;
  readonly shared: Sharing["blobs"];
  /** Whether what nodes share in Redis can be changed; true when nothing is. */
  readonly sharedUsable: () => boolean;
  /** Names of the upstreams that blobs may have begun to come from. */
  readonly upstreams: () => readonly string[];
  /** Resolves when no worker answers any more from what it remembers. */
  readonly forgetWorkers: () => Promise<void>;
  /** Of these digests those that another node uses besides what goes, with its name. Never rejects. */
  readonly usedElsewhere: (
    subject: PurgeSubject,
    digests: readonly Digest[],
  ) => Promise<ReadonlyMap<Digest, string>>;
  readonly notices: NoticeSink;
}

/** A time that is not known, as of a record that may be outdated (cache/sharing/shared-tags.ts), is from before. */
function isFrom(purge: Purge, checkedAt: number): boolean {
  return !Number.isFinite(checkedAt) || isBefore(purge, checkedAt);
}

/** How far this node does it in what nodes share. */
export interface PurgeReach {
  /**
   * The purge began here: objects of S3 that this node has not itself go as well, and all rights in Redis. Other nodes leave those
   * to it.
   */
  readonly isOwn: boolean;
  /** Rights in Redis go: not where they may have been proved since. */
  readonly links: boolean;
}

/** What could not be done. */
interface Undone {
  readonly objects: readonly PlannedPart[];
  readonly files: readonly PlannedPart[];
  readonly tags: readonly (Scope & { readonly tag: Tag })[];
  readonly links: readonly LostLinks[];
}

/** Rights of a repository that are to go. */
interface LostLinks {
  readonly scope: Scope;
  readonly digests: readonly Digest[];
}

export interface PurgeOutcome {
  readonly plan: PurgePlan;
  /** What was on the disk, and is not any more. */
  readonly parts: number;
  readonly bytes: number;
  /** What came after the purge, and stays. */
  readonly newer: number;
  /** What is to be tried again (Purger.retry); undefined: all has been done. */
  readonly left: Undone | undefined;
}

export class Purger {
  readonly #options: PurgerOptions;
  readonly #plans: PurgePlans;

  constructor(options: PurgerOptions) {
    this.#options = options;
    this.#plans = new PurgePlans(options);
  }

  /** What would go now. Rejects with StoreError. */
  async plan(subject: PurgeSubject, parts: readonly Digest[] = []): Promise<PurgePlan> {
    return await this.#plan(subject, await this.#plans.plan(subject, parts));
  }

  /** See PurgePlans.used. */
  used(...asked: Parameters<PurgePlans["used"]>): ReturnType<PurgePlans["used"]> {
    return this.#plans.used(...asked);
  }

  /** What this node knows to go, whatever other nodes use. */
  known(subject: PurgeSubject): Promise<PurgePlan> {
    return this.#plans.plan(subject);
  }

  async #plan(subject: PurgeSubject, plan: PurgePlan): Promise<PurgePlan> {
    const digests = plan.goes.map(({ digest }) => digest);
    return await this.#plans.without(plan, await this.#options.usedElsewhere(subject, digests));
  }

  /** Does it, again where it was done before. Rejects with StoreError when the index cannot be read or written. */
  async apply(purge: Purge, reach: PurgeReach): Promise<PurgeOutcome> {
    const { local, blobs, shared, access, forgetWorkers, sharedUsable } = this.#options;
    const counts = ({ checkedAt }: { readonly checkedAt: number }): boolean => isFrom(purge, checkedAt);
    const plan = await this.#plan(purge, await this.#plans.plan(purge, purge.parts, counts));
    const digests = new Set(plan.goes.map(({ digest }) => digest));
    // From here on nothing that is under way brings them back.
    local.purged.add(digests);
    const usable = sharedUsable();
    await this.#forgetNames(purge, plan);
    await blobs.purge(digests);
    await shared?.publisher.forget(digests);
    const stored = reach.isOwn ? plan.goes : plan.goes.filter(({ here }) => here);
    const objects = await this.#deleteShared(purge, stored);
    const gone = await this.#deleteAll(purge, plan.goes);
    const lost = plan.goes.map(({ digest }) => digest).filter((digest) => !gone.newer.has(digest));
    // A repository loses its right to all that it shares with others, too.
    const whole = isWhole(purge);
    const unlinked = whole ? [...lost, ...plan.stays.map(({ digest }) => digest)] : lost;
    const links: LostLinks[] = [];
    for (const scope of plan.scopes)
      if (unlinked.length > 0 || whole) {
        const removal: LinkRemoval = reach.links ? { whole: whole && reach.isOwn } : { only: "node" };
        const isDone = await access.unlinkAll(scope, unlinked, removal);
        if (!isDone && reach.isOwn) links.push({ scope, digests: unlinked });
      }
    local.purged.add(lost);
    await forgetWorkers();
    const { parts, bytes, newer, failed: files } = gone;
    const tags = usable && sharedUsable() ? [] : namesOf(purge, plan);
    return { plan, parts, bytes, newer: newer.size, left: undone({ objects, files, tags, links }) };
  }

  /**
   * Tries again what `apply`, in this process, could not do, and nothing else: what has come or begun since then goes on. Rejects with
   * StoreError when the index cannot be read or written.
   */
  async retry(purge: Purge, before: PurgeOutcome): Promise<PurgeOutcome> {
    const { left } = before;
    if (left === undefined) return before;
    const { access, forgetWorkers, manifests, record, sharedUsable } = this.#options;
    const usable = sharedUsable();
    if (usable)
      await eachAtOnce(left.tags, atOnce, async ({ upstream, repository, tag }) => {
        // To look it up deletes a shared one that is from before its deletion here (SharedTags).
        const known = await record({ upstream, repository }, tag);
        if (known !== undefined && Number.isFinite(known.checkedAt) && isBefore(purge, known.checkedAt))
          await manifests.changed({ upstream, repository }, { kind: "tag", tag }, "deleted");
      });
    const objects = await this.#deleteShared(purge, left.objects);
    const gone = await this.#deleteAll(purge, left.files);
    if (left.files.length > 0) await forgetWorkers();
    const links: LostLinks[] = [];
    for (const each of left.links)
      if (!(await access.unlinkAll(each.scope, each.digests, { only: "shared", whole: isWhole(purge) })))
        links.push(each);
    const tags = usable && sharedUsable() ? [] : left.tags;
    return {
      plan: before.plan,
      parts: before.parts + gone.parts,
      bytes: before.bytes + gone.bytes,
      newer: before.newer + gone.newer.size,
      left: undone({ objects, files: gone.failed, tags, links }),
    };
  }

  async #forgetNames(purge: Purge, plan: PurgePlan): Promise<void> {
    const { scopes, tags } = plan;
    const { manifests, negative, listings, confirmations, kept, record } = this.#options;
    for (const scope of scopes) {
      listings.forget(scope);
      confirmations.forget(scope);
      if (isWhole(purge)) kept.clear(scope, purge.at);
      await negative.forget(scope);
    }
    // Also what no tag here names may have been given to a client of few media types.
    manifests.purged();
    const isKnown = tags.length > 0;
    await eachAtOnce(namesOf(purge, plan), atOnce, async ({ upstream, repository, tag }) => {
      const reference: Reference = { kind: "tag", tag };
      const scope: Scope = { upstream, repository };
      // Nodes may share one from after the purge that this one had not heard of.
      const known = isKnown ? await record(scope, tag) : undefined;
      if (known !== undefined && !isFrom(purge, known.checkedAt)) return;
      if (isKnown) await manifests.changed(scope, reference, "deleted");
      else manifests.changedElsewhere(scope, tag);
    });
  }

  async #deleteAll(
    purge: Purge,
    parts: readonly PlannedPart[],
  ): Promise<{ parts: number; bytes: number; newer: ReadonlySet<Digest>; failed: readonly PlannedPart[] }> {
    const { local, store, upstreams, notices } = this.#options;
    const newer = new Set<Digest>();
    const failed: PlannedPart[] = [];
    let [count, bytes] = [0, 0];
    await eachAtOnce(parts, atOnce, async (part) => {
      const { digest, size = 0, here, role } = part;
      try {
        if (role !== "manifest") for (const name of upstreams()) await local.purgeKept(digest, name);
        const info = await store.info(digest);
        if (info !== undefined && !isBefore(purge, info.modifiedAt)) {
          newer.add(digest);
          return;
        }
        await local.purge(digest);
        if (!here && info === undefined) return;
        count++;
        bytes += size;
      } catch (error) {
        failed.push(part);
        notices(noticeOfStoreError("purge", error));
      }
    });
    return { parts: count, bytes, newer, failed };
  }

  /** Objects that are younger than the purge stay. Resolves with those that could not be asked for, or deleted. */
  async #deleteShared(purge: Purge, parts: readonly PlannedPart[]): Promise<readonly PlannedPart[]> {
    const store = this.#options.shared?.store;
    if (store === undefined) return [];
    const left: PlannedPart[] = [];
    let failures = 0;
    await eachAtOnce(parts, atOnce, async (part) => {
      if (failures >= maxFailures) {
        left.push(part);
        return;
      }
      const { digest } = part;
      try {
        const found = await store.head(digest);
        if (found !== undefined && isBefore(purge, found.modifiedAt)) await store.delete(digest);
      } catch {
        // The store tells of its failures itself.
        failures++;
        left.push(part);
      }
    });
    return left;
  }
}

function isWhole({ tag, digest }: PurgeSubject): boolean {
  return tag === undefined && digest === undefined;
}

/** Also a tag without a record from before: a question for it may be under way, or nodes may share one that cannot be asked for. */
function namesOf(
  { scope, tag }: PurgeSubject,
  { tags }: PurgePlan,
): readonly (Scope & { readonly tag: Tag })[] {
  return tags.length === 0 && scope !== undefined && tag !== undefined ? [{ ...scope, tag }] : tags;
}

function undone(left: Undone): Undone | undefined {
  return Object.values(left).every(({ length }) => length === 0) ? undefined : left;
}
