// The cache's policy over the stores that were opened: what is kept, for how long, and which clients may have it.
import { Access } from "../cache/access.ts";
import { BlobCache } from "../cache/blob-cache.ts";
import { Confirmations } from "../cache/confirmations.ts";
import { Eviction, type EvictionOptions } from "../cache/eviction.ts";
import { Freshness } from "../cache/freshness.ts";
import { TagSights } from "../cache/history/tag-sights.ts";
import { KeptAnswers } from "../cache/kept-answers.ts";
import { Listings } from "../cache/listings.ts";
import { LocalBlobs } from "../cache/local-blobs.ts";
import { Manifests } from "../cache/manifests.ts";
import { NegativeAnswers } from "../cache/negative-answers.ts";
import { Refetch, type RefetchOptions } from "../cache/refetch.ts";
import { RefreshAhead } from "../cache/refresh/refresh-ahead.ts";
import { RegularTags } from "../cache/refresh/regular-tags.ts";
import type { Config, UpstreamConfig } from "../config/config.ts";
import type { BlobStore } from "../ports/blobs.ts";
import { everythingAllowed, type Verdicts } from "../ports/block/verdict.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { TagHistory } from "../ports/history/tag-history.ts";
import type { AnswerStore, BlobIndex } from "../ports/records.ts";
import type { Upstream } from "../ports/upstream.ts";
import type { Workers } from "../workers/workers.ts";
import type { SharedParts } from "./sharing.ts";

/** What no setting changes. */
export interface PolicyBounds {
  /** Bytes of manifests and small blobs in memory. */
  readonly memoryBytes: number;
  /** Bytes of running fills in memory, over all fills. */
  readonly windowBytes: number;
  /** Milliseconds for which an answer that something is not there is believed. */
  readonly negativeTtl: number;
  /** Milliseconds for which a list of tags or referrers is given without asking again. */
  readonly listingTtl: number;
}

const defaultBounds: PolicyBounds = {
  memoryBytes: 64 * 1024 * 1024,
  windowBytes: 64 * 1024 * 1024,
  negativeTtl: 10_000,
  listingTtl: 10_000,
};

/** What the configuration says of the policy; a reload replaces it. */
export interface PolicyRules {
  readonly cache: Omit<Config["cache"], "dir">;
  readonly freshness: Freshness;
  /** See ListingsOptions. */
  readonly staleIfError: number;
  readonly manifestsWithoutLayers: Config["manifestsWithoutLayers"];
  /** See RefreshAheadOptions. */
  readonly refreshAhead: number;
  /** Names of upstreams that are asked for a caller only. */
  readonly askedForCallers: ReadonlySet<string>;
}

/** The rules of a configuration. Throws for a pattern that cannot be read. */
export function policyRules({
  cache,
  tags,
  upstreams,
  manifestsWithoutLayers,
}: Pick<Config, "cache" | "tags" | "manifestsWithoutLayers"> & {
  readonly upstreams: readonly Pick<UpstreamConfig, "name" | "tags" | "access" | "auth" | "offline">[];
}): PolicyRules {
  const ownTags = new Map(upstreams.map(({ name, tags, offline }) => [name, { ...tags, offline }]));
  const forCallers = upstreams.filter(({ access, auth }) => access === "passthrough" && auth.kind === "none");
  const { staleIfError, refreshAhead } = tags;
  return {
    cache,
    freshness: new Freshness(tags, ownTags),
    staleIfError,
    manifestsWithoutLayers,
    refreshAhead,
    askedForCallers: new Set(forCallers.map(({ name }) => name)),
  };
}

export interface PolicyOptions {
  /** Read at every use. */
  readonly rules: () => PolicyRules;
  /** The defaults when left out. */
  readonly bounds?: PolicyBounds;
  /** See FillsOptions. */
  readonly load?: () => number;
  readonly store: BlobStore & { readonly quarantined: { readonly bytes: number } };
  readonly index: BlobIndex;
  readonly answers: AnswerStore;
  readonly history: TagHistory;
  readonly shared: Pick<SharedParts, "tags" | "links" | "announcements" | "sharing">;
  /** Left out: nothing is refused. */
  readonly verdicts?: Verdicts;
  /** Left out: nothing is pinned. */
  readonly pins?: EvictionOptions["pins"];
  /** Those of now. */
  readonly upstreams: () => readonly Upstream[];
  readonly repositoriesOf: RefetchOptions["repositoriesOf"];
  readonly freeSpace: EvictionOptions["freeSpace"];
  /** What the workers of this node do with the store; left out: there are none. */
  readonly workers?: Pick<Workers, "isReading" | "wrong"> | undefined;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
}

export interface Policy {
  readonly confirmations: Confirmations;
  readonly access: Access;
  readonly negative: NegativeAnswers;
  readonly local: LocalBlobs;
  readonly blobs: BlobCache;
  readonly manifests: Manifests;
  readonly listings: Listings;
  readonly kept: KeptAnswers;
  readonly eviction: Eviction;
  readonly refreshAhead: RefreshAhead;
}

export function createPolicy({
  rules,
  store,
  index,
  answers,
  history,
  pins,
  shared,
  upstreams,
  repositoriesOf,
  freeSpace,
  workers,
  verdicts = everythingAllowed,
  bounds = defaultBounds,
  ...common
}: PolicyOptions): Policy {
  const { announcements, sharing } = shared;
  const { memoryBytes, windowBytes, negativeTtl, listingTtl } = bounds;
  const access = new Access(shared.links, common.notices, (digest) => local.sizeOf(digest));
  const local = new LocalBlobs({
    ...common,
    store,
    index,
    makeRoomFor: (size) => eviction.makeRoomFor(size),
    mayGrow: (bytes) => eviction.mayGrow(bytes),
    makeRoom: (bytes) => eviction.run(bytes),
    grown: () => eviction.check(),
    memoryBytes,
    refetch: (digest, mediaType) => refetch.add(digest, mediaType),
    wrong: (digest) => workers?.wrong(digest),
    recheckAfter: () => rules().cache.scrub || Number.POSITIVE_INFINITY,
  });
  const negative = new NegativeAnswers(negativeTtl, common.steady, announcements);
  const blobs = new BlobCache({
    ...common,
    clock: common.steady,
    local,
    access,
    negative,
    sharing,
    verdicts,
    windowBytes,
  });
  const eviction = new Eviction({
    ...common,
    limits: () => rules().cache,
    store,
    index,
    pins,
    freeSpace,
    fillingBytes: () => blobs.fillingBytes + store.quarantined.bytes,
    inUse: (digest) => blobs.inUse(digest) || workers?.isReading(digest) === true,
    evicting: (digest) => local.forget(digest),
  });
  const kept = new KeptAnswers(answers, access, common.notices);
  const regular = new RegularTags(common);
  const manifests = new Manifests({
    ...common,
    regular,
    local,
    blobs,
    access,
    negative,
    kept,
    sharing,
    verdicts,
    tags: shared.tags,
    sights: new TagSights({ ...common, history }),
    freshness: () => rules().freshness,
    manifestsWithoutLayers: () => rules().manifestsWithoutLayers,
  });
  const confirmations = new Confirmations({ ...common, access, negative });
  const listings = new Listings({
    ...common,
    ttl: listingTtl,
    staleIfError: () => rules().staleIfError,
    kept,
    verdicts,
  });
  const refreshAhead = new RefreshAhead({
    ...common,
    regular,
    manifests,
    upstreams,
    mayAsk: (upstream) => !rules().askedForCallers.has(upstream),
    share: () => rules().refreshAhead,
    leases: sharing.leases,
  });
  const refetch = new Refetch({ blobs, manifests, upstreams, repositoriesOf });
  announcements?.subscribe(
    (announcement) => {
      if (announcement.kind === "unlinked") return access.ended(announcement.scope, announcement.digest);
      if (announcement.kind !== "tag" && announcement.kind !== "written") return;
      const { scope } = announcement;
      if (announcement.kind === "tag") {
        manifests.changedElsewhere(scope, announcement.tag);
        return;
      }
      listings.forget(scope);
      confirmations.forget(scope);
    },
    () => {},
  );
  return { confirmations, access, negative, local, blobs, manifests, listings, kept, eviction, refreshAhead };
}
