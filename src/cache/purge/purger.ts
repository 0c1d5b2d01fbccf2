// Deletes a tag, an image or a repository from everything of this node, and from what nodes share: records and rights, kept and
// remembered answers, memory, the disk, running fills, S3, Redis. What something else uses stays; what came after the purge
// stays as well, so that a node which hears of it late does no harm.
import type { Digest } from "../../oci/digest.ts";
import type { Reference } from "../../oci/reference.ts";
import type { BlobStore } from "../../ports/blobs.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { isBefore, type Purge, type PurgeSubject } from "../../ports/purge/purges.ts";
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
  readonly manifests: Pick<Manifests, "changed" | "changedElsewhere">;
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

export interface PurgeOutcome {
  readonly plan: PurgePlan;
  /** What was on the disk, and is not any more. */
  readonly parts: number;
  readonly bytes: number;
  /** What came after the purge, and stays. */
  readonly newer: number;
  /** False: something could not be reached, and it is to be done again. */
  readonly isDone: boolean;
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
    return this.#plans.without(plan, await this.#options.usedElsewhere(subject, digests));
  }

  /**
   * Does it, again where it was done before. `inShared`: S3 may have what this node has not; left out, it is asked only for what
   * is here, since another node sees to the rest. Rejects with StoreError when the index cannot be read or written.
   */
  async apply(purge: Purge, inShared = true): Promise<PurgeOutcome> {
    const { local, blobs, shared, forgetWorkers, sharedUsable } = this.#options;
    const counts = ({ checkedAt }: { readonly checkedAt: number }): boolean => isFrom(purge, checkedAt);
    const plan = await this.#plan(purge, await this.#plans.plan(purge, purge.parts, counts));
    const digests = new Set(plan.goes.map(({ digest }) => digest));
    // From here on nothing that is under way brings them back.
    local.purged.add(digests);
    let isDone = sharedUsable();
    await this.#forgetNames(purge, plan);
    await blobs.purge(digests);
    await shared?.publisher.forget(digests);
    const stored = inShared ? plan.goes : plan.goes.filter(({ here }) => here);
    isDone = (await this.#deleteShared(purge, stored)) && isDone;
    const gone = await this.#deleteAll(purge, plan.goes);
    const lost = plan.goes.map(({ digest }) => digest).filter((digest) => !gone.newer.has(digest));
    // A repository loses its right to all that it shares with others, too.
    const isWhole = purge.tag === undefined && purge.digest === undefined;
    const unlinked = isWhole ? [...lost, ...plan.stays.map(({ digest }) => digest)] : lost;
    for (const scope of plan.scopes)
      if (unlinked.length > 0) await this.#options.access.unlinkAll(scope, unlinked);
    local.purged.add(lost);
    await forgetWorkers();
    const { parts, bytes, failed } = gone;
    return { plan, parts, bytes, newer: gone.newer.size, isDone: isDone && !failed && sharedUsable() };
  }

  async #forgetNames(purge: Purge, { scopes, tags }: PurgePlan): Promise<void> {
    const { manifests, negative, listings, confirmations, kept } = this.#options;
    for (const scope of scopes) {
      listings.forget(scope);
      confirmations.forget(scope);
      if (purge.tag === undefined && purge.digest === undefined) kept.clear(scope, purge.at);
      await negative.forget(scope);
    }
    // Also a tag without a record from before: a question for it may be under way.
    const asked =
      tags.length === 0 && purge.scope !== undefined && purge.tag !== undefined
        ? [{ ...purge.scope, tag: purge.tag, isKnown: false }]
        : tags.map((tag) => ({ ...tag, isKnown: true }));
    await eachAtOnce(asked, atOnce, async ({ upstream, repository, tag, isKnown }) => {
      const reference: Reference = { kind: "tag", tag };
      const scope: Scope = { upstream, repository };
      if (isKnown) await manifests.changed(scope, reference, "deleted");
      else manifests.changedElsewhere(scope, tag);
    });
  }

  async #deleteAll(
    purge: Purge,
    parts: readonly PlannedPart[],
  ): Promise<{ parts: number; bytes: number; newer: ReadonlySet<Digest>; failed: boolean }> {
    const { local, store, upstreams, notices } = this.#options;
    const newer = new Set<Digest>();
    let [count, bytes, failed] = [0, 0, false];
    await eachAtOnce(parts, atOnce, async ({ digest, size = 0, here, role }) => {
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
        failed = true;
        notices(noticeOfStoreError("purge", error));
      }
    });
    return { parts: count, bytes, newer, failed };
  }

  /** Objects that are younger than the purge stay. False when some could not be asked for. */
  async #deleteShared(purge: Purge, parts: readonly PlannedPart[]): Promise<boolean> {
    const store = this.#options.shared?.store;
    if (store === undefined) return true;
    let failures = 0;
    await eachAtOnce(parts, atOnce, async ({ digest }) => {
      if (failures >= maxFailures) return;
      try {
        const found = await store.head(digest);
        if (found !== undefined && isBefore(purge, found.modifiedAt)) await store.delete(digest);
      } catch {
        // The store tells of its failures itself.
        failures++;
      }
    });
    return failures === 0;
  }
}
