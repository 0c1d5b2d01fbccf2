// What this node shares with the others of its datacenter, where it is configured: tags and links in Redis, blobs in S3, and
// running fills with the other nodes. Without it the node has its own index and upstream.
import type { Sharing } from "../cache/fill/source.ts";
import { Holders } from "../cache/sharing/holders.ts";
import { Publisher, type PublisherOptions, publishUnpublished } from "../cache/sharing/publisher.ts";
import { Releases } from "../cache/sharing/releases.ts";
import { RememberedLinks, RememberedTags } from "../cache/sharing/remembered.ts";
import { SharedLinks } from "../cache/sharing/shared-links.ts";
import { SharedTags } from "../cache/sharing/shared-tags.ts";
import { Siblings } from "../cache/sharing/siblings.ts";
import type { Config } from "../config/config.ts";
import { plainUpstream } from "../config/config.ts";
import type { BlobStore } from "../ports/blobs.ts";
import type { BlockExchange } from "../ports/block/blocks.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { NodeProof } from "../ports/datacenter/node-proof.ts";
import type { NodeCommands, NodeSummaries, OtherNodes } from "../ports/datacenter/nodes.ts";
import { idOfUpstream, upstreamById } from "../ports/datacenter/upstream-id.ts";
import { inTime } from "../ports/deadline.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { PinLookup } from "../ports/pins/pins.ts";
import type { PurgeExchange } from "../ports/purge/purges.ts";
import type { BlobIndex, LinkStore, OwnLinks, TagStore } from "../ports/records.ts";
import type { Announcements } from "../ports/shared.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import type { RedisShared } from "../storage/redis/shared.ts";
import type { S3Blobs } from "../storage/s3/blobs.ts";
import type { KnownBlobs, S3Room } from "../storage/s3/eviction.ts";
import { AskedBlocks } from "../upstream/node-blocks.ts";
import { AskedPurges } from "../upstream/node-purges.ts";
import { AskedSummaries, HttpNodes } from "../upstream/nodes.ts";
import { HttpPeers } from "../upstream/peers.ts";
import { HttpSibling } from "../upstream/siblings.ts";
import { userAgent } from "../version.ts";

/** Milliseconds between two searches for what interrupted uploads left, and two checks of the size of S3. */
const upkeepInterval = 3_600_000;
/** Seconds in which a client has to begin a download it is sent to S3 for. */
const redirectLifetime = 15 * 60;
/**
 * Milliseconds a start waits for Redis: before that a node whose disk is empty knows nothing, and would send its first
 * clients away while upstream is down.
 */
const redisStartTimeout = 1_000;
/** Nodes of a list that are asked for what is not here. */
const maxRead = 16;
/** Milliseconds a tag record is kept in Redis at most. */
const longestLifetime = 365 * 86_400_000;

export interface SharedParts {
  /** For the policy: this node's own stores, or these over what is shared. */
  readonly tags: TagStore;
  readonly links: LinkStore;
  readonly announcements: Announcements | undefined;
  readonly sharing: Sharing;
  /** How the nodes tell each other of themselves; undefined where there are no others. */
  readonly summaries: NodeSummaries | undefined;
  /** Undefined where there are no others, or nodes sign nothing. */
  readonly otherNodes: (OtherNodes & NodeCommands) | undefined;
  /** How nodes tell each other of purges; undefined where there are no others, or they cannot be asked. */
  readonly purges: PurgeExchange | undefined;
  /** The same of blocked digests. */
  readonly blocks: BlockExchange | undefined;
  /** Whether Redis can be changed; true when nodes share none. */
  readonly redisUsable: () => boolean;
  /** Blobs that wait to be uploaded; undefined without S3. */
  readonly pendingUploads: () => number | undefined;
  /** Bytes of blobs in S3 when last counted, an hour ago at most; undefined without a size to keep. */
  readonly storedBytes: () => number | undefined;
  /** Asks both whether they are there, so that a node without traffic knows: notices say it when that changes. Never rejects. */
  check(): Promise<void>;
  /** Uploads what the last run had no time for; ends early with the signal and never rejects. */
  catchUp(index: Pick<BlobIndex, "get">, signal: AbortSignal): Promise<void>;
  /** From now on these upstreams are configured. */
  useUpstreams(upstreams: Config["upstreams"]): void;
  /** Ends uploads, gives back leases, closes connections; in bounded time. */
  close(): Promise<void>;
}

export interface SharedPartsOptions {
  /** What the node is started with, and what of it may change as it is now. */
  readonly config: Config;
  readonly settings: () => Pick<Config, "tags" | "upstreams">;
  /** How this node names itself in Via. */
  readonly pseudonym: string;
  /** Signs what other nodes are asked; left out: nothing is signed. */
  readonly proof?: NodeProof | undefined;
  readonly store: Pick<BlobStore, "open" | "list">;
  /** See PublisherOptions. */
  readonly check: PublisherOptions["check"];
  readonly own: {
    readonly tags: TagStore;
    readonly links: OwnLinks;
    /** What eviction in S3 goes by besides age; left out: nothing is pinned or superseded. */
    readonly pins?: Pick<PinLookup, "isHeld">;
    readonly blobs?: Pick<BlobIndex, "isSuperseded">;
  };
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
}

/** Stores that cannot be reached now are used once they can. */
export async function openSharedParts(options: SharedPartsOptions): Promise<SharedParts> {
  // Only this process changes these stores, so what was read may be remembered.
  const own = { tags: new RememberedTags(options.own.tags), links: new RememberedLinks(options.own.links) };
  const redis = await openRedis(options);
  const s3 = await openS3(options);
  const closing = new AbortController();
  const { node, nodes } = options.config;
  const others = nodes.filter((address) => address !== node.address);
  const { proof, pause, steady: clock } = options;
  const listed = others.slice(0, maxRead);
  const alive = () => redis?.nodes.others() ?? [];
  const read =
    redis === undefined && listed.length === 0
      ? undefined
      : { others: () => (alive().length > 0 ? alive() : listed) };
  const peers = read && new HttpPeers({ ...options, clock, plain: plainUpstream, node: node.name });
  const siblings = (options.config.siblings ?? []).map(
    (sibling) => new HttpSibling(sibling, { ...options, clock, plain: plainUpstream }),
  );
  const otherNodes =
    proof === undefined || (redis === undefined && others.length === 0)
      ? undefined
      : new HttpNodes({
          node: node.name,
          proof,
          userAgent,
          upstreamId: (name) => idOfUpstream(options.settings().upstreams, name),
          signal: closing.signal,
        });
  const known = redis === undefined ? own : layered(own, options, redis);
  return {
    ...known,
    announcements: redis?.announcements,
    sharing: {
      blobs: s3?.blobs,
      leases: redis?.leases,
      releases: redis && new Releases(redis.announcements),
      peers,
      holders: read && peers && new Holders({ nodes: read, peers, clock, pause }),
      siblings: siblings.length === 0 ? undefined : new Siblings({ ...options, siblings, clock }),
    },
    summaries: otherNodes && others.length > 0 ? new AskedSummaries(otherNodes, others) : redis?.summaries,
    otherNodes,
    purges:
      redis?.purges ??
      (otherNodes &&
        new AskedPurges({
          nodes: otherNodes,
          addresses: others,
          nameOf: (id) => upstreamById(options.settings().upstreams, id)?.name,
        })),
    blocks: redis?.blocks ?? (otherNodes && new AskedBlocks({ nodes: otherNodes, addresses: () => others })),
    redisUsable: () => redis?.usable ?? true,
    pendingUploads: () => s3?.blobs.publisher.pending,
    storedBytes: () => s3?.storedBytes(),
    async check() {
      await Promise.all([redis?.check(), s3?.check()]);
    },
    catchUp: async (index, signal) => await s3?.catchUp(index, signal),
    useUpstreams: (upstreams) => redis?.useUpstreams(upstreams),
    async close() {
      closing.abort();
      await s3?.close();
      await peers?.close();
      await Promise.all(siblings.map((sibling) => sibling.close()));
      await redis?.close();
    },
  };
}

async function openRedis(options: SharedPartsOptions): Promise<RedisShared | undefined> {
  const { config, notices, pause } = options;
  if (config.redis === undefined) return undefined;
  // Loaded only where it is configured.
  const { openRedisShared } = await import("../storage/redis/shared.ts");
  const redis = openRedisShared({
    redis: config.redis,
    upstreams: config.upstreams,
    nodeName: config.node.name,
    address: config.node.address,
    tagLifetime: () => tagLifetime(options.settings()),
    notices,
    pause,
  });
  await inTime(redis.settled, redisStartTimeout, pause);
  return redis;
}

function layered(
  own: Pick<SharedParts, "tags" | "links">,
  { config, notices, clock, steady }: SharedPartsOptions,
  redis: RedisShared,
) {
  const { announcements } = redis;
  const common = { usable: () => redis.usable, announcements, notices, clock, steady };
  return {
    tags: new SharedTags({ ...common, local: own.tags, shared: redis.tags }),
    links: new SharedLinks({
      ...common,
      local: own.links,
      shared: redis.links,
      onlyOwn: (name) =>
        config.upstreams.some((upstream) => upstream.name === name && upstream.access === "passthrough"),
    }),
  };
}

/** A record is kept as long as it may be served: fresh, and then while upstream fails. Where none is asked that has no end. */
function tagLifetime({ tags, upstreams }: Pick<Config, "tags" | "upstreams">): number {
  if (upstreams.some(({ offline }) => offline)) return longestLifetime;
  const ttls = [tags.ttl, ...tags.rules.map(({ ttl }) => ttl)];
  for (const { tags: own } of upstreams) ttls.push(own.ttl ?? 0, ...own.rules.map(({ ttl }) => ttl));
  return Math.min(Math.max(...ttls, 1_000) + tags.staleIfError, longestLifetime);
}

interface S3Parts {
  readonly blobs: NonNullable<Sharing["blobs"]>;
  storedBytes(): number | undefined;
  check(): Promise<void>;
  readonly catchUp: SharedParts["catchUp"];
  close(): Promise<void>;
}

async function openS3(options: SharedPartsOptions): Promise<S3Parts | undefined> {
  const { config, store, notices, clock, steady, pause } = options;
  if (config.s3 === undefined) return undefined;
  // The SDK takes 0.2 s and 70 MB to load.
  const { S3Blobs } = await import("../storage/s3/blobs.ts");
  const { redirectAbove, maxSize } = config.s3;
  const note = usabilityNotices(notices);
  const s3 = new S3Blobs(config.s3, {
    notices,
    clock: steady,
    pause,
    // Half open is still open to all but the probe.
    onState: (state) => {
      if (state !== "half_open") note(state === "closed" ? undefined : "it has stopped answering");
    },
  });
  // While the circuit is open there are probes.
  const check = async (): Promise<void> => {
    if (s3.state !== "closed") return;
    await s3.reach().then(
      () => note(undefined),
      (error: unknown) => note(error instanceof Error ? error.message : String(error)),
    );
  };
  void check();
  const publisher = new Publisher({ shared: s3, local: store, check: options.check, notices, pause });
  const closing = new AbortController();
  const room = maxSize === undefined ? undefined : { maxBytes: maxSize, smallBlob: config.cache.smallBlob };
  const { pins, blobs } = options.own;
  const known: KnownBlobs = {
    isHeld: (digest) => pins?.isHeld(digest) ?? false,
    isSuperseded: (digest) => blobs?.isSuperseded(digest) ?? false,
  };
  let storedBytes: number | undefined;
  const keep = async (): Promise<void> => {
    storedBytes = (await keepUp(s3, room, known, notices, closing.signal)) ?? storedBytes;
  };
  const upkeep = setInterval(() => void keep(), upkeepInterval).unref();
  const redirect = redirectAbove === undefined ? undefined : { above: redirectAbove, presign: presign(s3) };
  return {
    blobs: { store: s3, publisher, redirect },
    storedBytes: () => storedBytes,
    check,
    async catchUp(index, signal) {
      try {
        await publishUnpublished({ local: store, index, shared: s3, publisher, clock, signal });
      } catch (error) {
        notices(noticeOfStoreError("publish", error));
      }
    },
    async close() {
      clearInterval(upkeep);
      closing.abort();
      await publisher.stop();
      s3.close();
    },
  };
}

function presign(s3: S3Blobs): NonNullable<NonNullable<Sharing["blobs"]>["redirect"]>["presign"] {
  return (digest) => s3.presign(digest, redirectLifetime);
}

/** A notice whenever S3 can be used from now on, or cannot, for the reason given: not for every probe that says so again. */
function usabilityNotices(notices: NoticeSink): (trouble: string | undefined) => void {
  let known: boolean | undefined;
  return (trouble) => {
    const usable = trouble === undefined;
    if (usable === known) return;
    known = usable;
    notices({ kind: "shared_store", store: "s3", usable, message: trouble ?? "" });
  };
}

/**
 * Every node does it, and passes over what it pins itself: two at once do no harm. The S3 store reports its failures itself.
 * Resolves with the bytes left; undefined when they were not counted.
 */
async function keepUp(
  s3: S3Blobs,
  room: S3Room | undefined,
  known: KnownBlobs,
  notices: NoticeSink,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    await s3.sweep(signal);
    if (room === undefined) return undefined;
    const evicted = await s3.evict(room, signal, known);
    notices({ kind: "shared_eviction", store: "s3", ...evicted });
    return evicted.bytes;
  } catch {
    // The next hour.
    return undefined;
  }
}
