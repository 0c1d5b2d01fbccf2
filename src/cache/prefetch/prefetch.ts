// The next layers of an image that a client pulls, before it asks for them. Clients fetch some layers at a time, and each costs
// them a round trip; the image says what they will ask for next. Layers come in the order of the manifest, in the background
// class, as long as the client asks for one after the other (pull-progress.ts); what is coming when it leaves one out comes to its end,
// since a request that was only late would have it sent twice. Each is fetched as for the client itself: in its
// repository, by its right, on its account; so it joins what was fetched ahead, and nothing crosses the link twice.
//
// It never stands in the way: nothing begins while another client waits for bytes of that upstream, while no connection is
// free, or without room that is free anyway.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import { type Manifest, readManifest } from "../../oci/manifest.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { ImageGraph } from "../../ports/records.ts";
import { isSameScope, keyIn, type Scope } from "../../ports/scope.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { isBackground, type RemoteRepository, type Upstream, UpstreamError } from "../../ports/upstream.ts";
import type { BlobCache } from "../blob-cache.ts";
import type { LocalBlobs } from "../local-blobs.ts";
import { bytesOf, maxLayers, type PullLayer, PullProgress } from "./pull-progress.ts";

/** Callers of which it is known what manifests they were given last, and how many of each. */
const maxCallers = 4_096;
const manifestsOfCaller = 4;
/** Images watched at once; the one asked for longest ago makes way. */
const maxImages = 64;
/** Milliseconds after its last request in which a client is expected to go on with an image. */
const watchedFor = 600_000;
/** Milliseconds in which nothing is fetched ahead from an upstream that has failed to give something, at least. */
const restAfterFailure = 10_000;
/** Share of the cache that layers may take which no client has asked for yet. */
const cacheShare = 1 / 16;

export interface PrefetchOptions {
  readonly blobs: Pick<BlobCache, "open" | "fillings" | "inUse">;
  readonly local: Pick<LocalBlobs, "indexed" | "manifest">;
  readonly graph: Pick<ImageGraph, "parentsIn">;
  /** Whether the digest is known by tags alone that are not allowed (DeniedDigests). */
  readonly denies: (scope: Scope, digest: Digest, allowed: TagFilter) => boolean;
  /** See Eviction.mayGrow. */
  readonly mayGrow: (bytes: number) => Promise<boolean>;
  /** Bytes of an image that may be fetched, or coming, before the client asks for them; 0: none. Read at every use. */
  readonly bytesAhead: () => number;
  /** Bytes the cache may have. Read at every use. */
  readonly cacheSize: () => number;
  readonly notices: NoticeSink;
  /** A steady one. */
  readonly clock: Clock;
}

type TagFilter = (tag: string) => boolean;

/** A client's request for a blob. */
export interface BlobRequest {
  readonly remote: RemoteRepository;
  readonly digest: Digest;
  /** Tags of the repository that the caller may have; left out: all. */
  readonly tagFilter?: TagFilter | undefined;
  /** Calls the listener when the request is over. */
  readonly onOver: (listener: () => void) => void;
}

interface AnsweredManifest extends Scope {
  readonly digest: Digest;
}

/** An image that a client pulls, and what of it that client may have. */
interface Watched {
  readonly image: PullProgress;
  readonly scope: Scope;
  tagFilter: TagFilter | undefined;
}

export class Prefetch {
  readonly #options: PrefetchOptions;
  /** By the key of the caller, the last manifest first. */
  readonly #answered = new LRUCache<string, readonly AnsweredManifest[]>({ max: maxCallers });
  /** By their keys, the one asked for longest ago first. */
  readonly #images = new Map<string, Watched>();
  /** Those that lack the layer. */
  readonly #byLayer = new Map<Digest, Set<Watched>>();
  /** By name of the upstream: until when nothing is fetched ahead; as many as there have been in the configuration. */
  readonly #resting = new Map<string, number>();

  constructor(options: PrefetchOptions) {
    this.#options = options;
  }

  /** A client was given this manifest. */
  answered({ upstream, repository, onBehalfOf }: RemoteRepository, digest: Digest): void {
    if (onBehalfOf === undefined || this.#options.bytesAhead() === 0) return;
    const known = this.#answered.get(onBehalfOf.key) ?? [];
    const isNew = (each: AnsweredManifest): boolean =>
      each.digest !== digest || each.repository !== repository || each.upstream !== upstream;
    const [last] = known;
    if (last !== undefined && !isNew(last)) return;
    const others = known.filter(isNew).slice(0, manifestsOfCaller - 1);
    this.#answered.set(onBehalfOf.key, [{ upstream, repository, digest }, ...others]);
  }

  /** A client asks for all or some of a blob, whether it is here or not. */
  asked(remote: RemoteRepository, digest: Digest, onOver: BlobRequest["onOver"]): void {
    if (this.#byLayer.size === 0) return;
    for (const watched of [...(this.#byLayer.get(digest) ?? [])]) {
      const layer = watched.image.layer(digest) as PullLayer;
      if (!layer.asked) this.#note(watched, layer, "used");
      if (watched.image.caller === remote.onBehalfOf?.key && isSameScope(watched.scope, remote))
        this.#ask(watched, layer, remote, onOver);
    }
  }

  /** Another node asks for it, for one of its own clients: what came ahead for a client here is not left out then. */
  askedByNode(remote: RemoteRepository, digest: Digest): void {
    for (const watched of [...(this.#byLayer.get(digest) ?? [])]) {
      const layer = watched.image.layer(digest) as PullLayer;
      if (layer.asked || (layer.ahead !== "coming" && layer.ahead !== "here")) continue;
      this.#note(watched, layer, "used");
      if (isSameScope(watched.scope, remote)) layer.asked = true;
      if (watched.image.isOver) this.#forget(watched);
    }
  }

  /** A client that wants all of a blob has begun a fill of it. Never rejects. */
  async missed(request: BlobRequest): Promise<void> {
    const { remote, digest, tagFilter, onOver } = request;
    const caller = remote.onBehalfOf?.key;
    if (caller === undefined || isBackground(remote) || this.#options.bytesAhead() === 0) return;
    if (this.joined(request)) return;
    let over = false;
    onOver(() => {
      over = true;
    });
    this.#forgetIdle();
    const found = await this.#imageOf(remote, digest, caller);
    if (found === undefined || over) return;
    const key = `${keyIn(remote, found.digest)} ${caller}`;
    const watched = this.#images.get(key) ?? this.#watched(key, caller, found.manifest, remote, digest);
    const layer = watched.image.layer(digest);
    if (layer === undefined) return;
    watched.tagFilter = tagFilter;
    if (!this.#images.has(key)) this.#watch(watched);
    this.#goOn(watched, remote, digest, onOver);
  }

  /**
   * The client follows a fill that may be one of those that came ahead of it. False when none of its images that are watched
   * has the layer.
   */
  joined({ remote, digest, onOver }: Omit<BlobRequest, "tagFilter">): boolean {
    let known = false;
    for (const watched of [...(this.#byLayer.get(digest) ?? [])]) {
      const { image, scope } = watched;
      if (image.caller !== remote.onBehalfOf?.key || !isSameScope(scope, remote)) continue;
      known = true;
      this.#goOn(watched, remote, digest, onOver);
    }
    return known;
  }

  /** The client asks for a layer of the image: as is known already, or it began to before the image was watched. */
  #goOn(watched: Watched, remote: RemoteRepository, digest: Digest, onOver: BlobRequest["onOver"]): void {
    const layer = watched.image.layer(digest) as PullLayer;
    if (layer.asked) this.#advance(watched);
    else {
      this.#note(watched, layer, "used");
      this.#ask(watched, layer, remote, onOver);
    }
  }

  // ---- which image --------------------------------------------------------------------------------------------

  /** The image that the client pulls: of a manifest it was given in the repository, else the only one there with the layer. */
  async #imageOf(
    scope: Scope,
    layer: Digest,
    caller: string,
  ): Promise<{ readonly digest: Digest; readonly manifest: Manifest } | undefined> {
    const answered = (this.#answered.get(caller) ?? []).filter((each) => isSameScope(each, scope));
    for (const digest of [...answered.map((each) => each.digest), ...this.#onlyParent(scope, layer)]) {
      const body = await this.#options.local.manifest(digest);
      const manifest = body && readManifest(body.body, body.mediaType);
      if (typeof manifest !== "object") continue;
      if (manifest.children.some((child) => child.digest === layer && child.role === "layer"))
        return { digest, manifest };
    }
    return undefined;
  }

  #onlyParent(scope: Scope, layer: Digest): readonly Digest[] {
    try {
      const parents = this.#options.graph.parentsIn(scope, layer, 2);
      return parents.length === 1 ? parents : [];
    } catch (error) {
      this.#options.notices(noticeOfStoreError("graph.parents", error));
      return [];
    }
  }

  // ---- images that are watched --------------------------------------------------------------------------------

  /** `digest`: the layer that is being fetched now, because the client has asked for it. */
  #watched(
    key: string,
    caller: string,
    { children }: Manifest,
    { upstream, repository }: Scope,
    digest: Digest,
  ): Watched {
    const parts = new Set(children.map((child) => child.digest));
    const layers = children.filter(({ role }) => role === "layer").slice(0, maxLayers);
    const missing = layers.filter(
      (layer) => layer.digest === digest || !this.#options.local.indexed(layer.digest),
    );
    const image = new PullProgress(key, caller, parts, missing);
    return { image, scope: { upstream, repository }, tagFilter: undefined };
  }

  #watch(watched: Watched): void {
    const { image } = watched;
    this.#images.set(image.key, watched);
    for (const { digest } of image.layers)
      this.#byLayer.set(digest, (this.#byLayer.get(digest) ?? new Set()).add(watched));
    const [oldest] = this.#images.values();
    if (this.#images.size > maxImages && oldest !== undefined) this.#forget(oldest);
  }

  #forget(watched: Watched): void {
    const { image } = watched;
    image.stopped = true;
    this.#images.delete(image.key);
    for (const layer of image.layers) {
      if (!layer.asked) this.#note(watched, layer, "unused");
      const others = this.#byLayer.get(layer.digest);
      others?.delete(watched);
      if (others?.size === 0) this.#byLayer.delete(layer.digest);
    }
  }

  #forgetIdle(): void {
    const since = this.#options.clock() - watchedFor;
    for (const watched of [...this.#images.values()])
      if (watched.image.askedAt < since) this.#forget(watched);
  }

  /** Tells what has become of a layer that was fetched ahead, once. */
  #note({ scope }: Watched, layer: PullLayer, result: "used" | "unused"): void {
    const { ahead, digest, size = 0 } = layer;
    if (ahead !== "coming" && ahead !== "here") return;
    const bytes = ahead === "coming" && result === "unused" ? (this.#fillOf(digest)?.received ?? 0) : size;
    layer.ahead = "no";
    this.#options.notices({ kind: "prefetch", upstream: scope.upstream, result, digest, bytes });
  }

  #ask(watched: Watched, layer: PullLayer, remote: RemoteRepository, onOver: BlobRequest["onOver"]): void {
    const { image } = watched;
    const over = image.ask(layer, remote, this.#options.clock());
    onOver(() => {
      over();
      if (image.isOver) this.#forget(watched);
    });
    if (this.#images.get(image.key) === watched) {
      this.#images.delete(image.key);
      this.#images.set(image.key, watched);
    }
    // Otherwise what the client waits for is asked for first (`missed`).
    if (this.#isHere(layer.digest)) this.#advance(watched);
  }

  #fillOf(digest: Digest) {
    return this.#options.blobs.fillings.find(({ fill }) => fill.digest === digest)?.fill;
  }

  // ---- fetching -----------------------------------------------------------------------------------------------

  #advance(watched: Watched): void {
    const { image, scope } = watched;
    const { remote } = image;
    if (image.next.length === 0 || remote === undefined || !this.#mayAsk(remote.registry)) return;
    if (this.#othersWait(image, scope.upstream)) return;
    for (const layer of image.next) {
      if (layer.ahead !== "no" || this.#isHere(layer.digest)) continue;
      if (!this.#fits(image, layer) || !remote.registry.spare || this.#isDenied(watched, layer)) return;
      layer.ahead = "deciding";
      void this.#fetch(watched, layer, remote);
    }
  }

  #mayAsk({ name, available, allowance }: Upstream): boolean {
    return available && allowance > 0 && this.#options.clock() >= (this.#resting.get(name) ?? 0);
  }

  /** Whether a client waits for something of the upstream that is no part of the image. */
  #othersWait(image: PullProgress, upstream: string): boolean {
    return this.#options.blobs.fillings.some(
      ({ fill, remote }) =>
        remote.upstream === upstream &&
        !image.has(fill.digest) &&
        fill.remotes?.some((each) => !isBackground(each)) === true,
    );
  }

  #isHere(digest: Digest): boolean {
    const { blobs, local } = this.#options;
    return blobs.inUse(digest) || local.indexed(digest);
  }

  #fits(image: PullProgress, { size }: PullLayer): boolean {
    const { bytesAhead, cacheSize } = this.#options;
    const { ahead } = image;
    if (size === undefined || ahead.length >= image.mostAhead || bytesOf(ahead) + size > bytesAhead())
      return false;
    const all = [...this.#images.values()].reduce((sum, each) => sum + bytesOf(each.image.ahead), 0);
    return all + size <= cacheSize() * cacheShare;
  }

  #isDenied({ scope, tagFilter, image }: Watched, { digest }: PullLayer): boolean {
    if (tagFilter === undefined || !this.#options.denies(scope, digest, tagFilter)) return false;
    image.stopped = true;
    return true;
  }

  /** Never rejects. */
  async #fetch(watched: Watched, layer: PullLayer, remote: RemoteRepository): Promise<void> {
    const { image } = watched;
    try {
      const fits = await this.#options.mayGrow(layer.size ?? 0);
      if (!fits || layer.asked || image.stopped || remote.registry.caller?.waits === false) {
        layer.ahead = "no";
        return;
      }
      layer.ahead = "coming";
      // What cannot be kept would come again, as would what clients fetch elsewhere.
      const isKept = (await this.#follow(layer.digest, remote)) && this.#isHere(layer.digest);
      if (!isKept) this.#failed(watched, layer);
      else if (layer.ahead === "coming") layer.ahead = "here";
    } catch (error) {
      // The client is told why when it asks for it.
      this.#failed(watched, layer);
      if (error instanceof UpstreamError) this.#rest(remote.upstream, error);
    }
    this.#advance(watched);
  }

  /**
   * Fetches it for the client that `remote` is of, and follows that to the end without reading. False when nothing comes here.
   * Rejects with UpstreamError or StoreError.
   */
  async #follow(digest: Digest, remote: RemoteRepository): Promise<boolean> {
    const { key = "", exempt = false, user } = remote.onBehalfOf ?? {};
    // What it takes of the link is the client's.
    const onBehalfOf = { key, exempt, user, background: true } as const;
    const opened = await this.#options.blobs.open({ ...remote, onBehalfOf }, digest);
    if (opened.kind !== "found") return false;
    const filling = this.#fillOf(digest);
    try {
      await opened.reader.arrived?.(opened.size ?? Number.MAX_SAFE_INTEGER);
    } finally {
      await opened.reader.close();
    }
    await filling?.done;
    return true;
  }

  #failed(watched: Watched, layer: PullLayer): void {
    watched.image.stopped = true;
    this.#note(watched, layer, "unused");
    if (layer.ahead === "deciding") layer.ahead = "no";
  }

  #rest(upstream: string, { retryAfter = 0 }: UpstreamError): void {
    this.#resting.set(upstream, this.#options.clock() + Math.max(restAfterFailure, retryAfter * 1000));
  }
}
