// Manifests for clients. A tag is fresh for its time to live, then confirmed by HEAD, and stale while upstream fails; a
// digest is good for ever. A tag is never answered with a digest whose body is not here.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import { refusalOf, type Verdict, type Verdicts } from "../ports/block/verdict.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { NoticeSink, Result, Source, TagRefreshResult } from "../ports/event.ts";
import type { TagRecord, TagStore } from "../ports/records.ts";
import { keyIn, type Scope } from "../ports/scope.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { notCached, type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import { isRefusal, type Refusal, type RelayedHeaders } from "../ports/upstream-answer.ts";
import type { Access } from "./access.ts";
import type { BlobCache, ManifestRelay, OpenedBlob } from "./blob-cache.ts";
import type { Sharing } from "./fill/source.ts";
import { type Freshness, subjectOfTag } from "./freshness.ts";
import type { TagSights } from "./history/tag-sights.ts";
import { IncompleteImages, type ManifestsWithoutLayers } from "./incomplete-images.ts";
import type { KeptAnswers } from "./kept-answers.ts";
import { inMemory, type LocalBlobs, type LocalManifest } from "./local-blobs.ts";
import { ManifestSource, type Resolution } from "./manifest-source.ts";
import { bodyBytes } from "./memory-size.ts";
import type { NegativeAnswers } from "./negative-answers.ts";
import type { RegularTags } from "./refresh/regular-tags.ts";
import { type Question, type Revalidated, Revalidation } from "./revalidation.ts";
import { TagRecords } from "./tag-records.ts";

export interface ManifestsOptions {
  readonly local: LocalBlobs;
  readonly blobs: BlobCache;
  readonly access: Access;
  readonly tags: TagStore;
  /** Is told what upstream says of tags. */
  readonly sights: TagSights;
  /** Read for every tag. */
  readonly freshness: () => Freshness;
  /** Is told which tags clients ask for. */
  readonly regular: RegularTags;
  readonly negative: NegativeAnswers;
  readonly kept: KeptAnswers;
  /** What this node shares with others; left out: nothing. */
  readonly sharing?: Sharing | undefined;
  /** What is done with the manifest of an image that cannot be pulled whole because upstream is away. */
  readonly manifestsWithoutLayers: () => ManifestsWithoutLayers;
  /** Asked for everything that is opened here. */
  readonly verdicts: Verdicts;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
}

export interface OpenedManifest {
  readonly kind: "found";
  readonly result: Extract<Result, "hit" | "stale" | "revalidated" | "miss" | "joined">;
  readonly source: Source;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly body: Buffer;
  /** Milliseconds since upstream last confirmed the tag; 0 for digests. */
  readonly age: number;
  /** Milliseconds until the tag is to be confirmed, below 0 when that is overdue; undefined for digests. */
  readonly freshFor?: number;
  /** The tag was here, and upstream had to be asked whether it still holds. */
  readonly outdated?: true;
  /** Why upstream could not be asked. */
  readonly reason?: UpstreamError;
  /** Cache-Status of upstream's answer, when it was asked for this request. */
  readonly cacheStatus?: string;
  readonly relayed?: RelayedHeaders;
}

/** A manifest that is verified and not stored: one above 4 MiB as a stream, one the cache cannot keep from memory. */
export interface RelayedManifest extends OpenedBlob {
  readonly digest: Digest;
  readonly mediaType: string;
}

export type ManifestOpened = OpenedManifest | RelayedManifest | Refusal;

/** A tag record and its body, which is here. */
interface StoredTag {
  readonly record: TagRecord;
  readonly manifest: LocalManifest;
}

/** The outcome of a question to upstream, for all requests that share it. */
type Outcome =
  | Exclude<Resolution, { kind: "oversize" }>
  | { readonly kind: "relay"; readonly mediaType: string; readonly relay: ManifestRelay };

interface Answered {
  readonly value: Outcome;
  /** The request shares a question that another one had asked. */
  readonly joined: boolean;
  /** The tag was here, and upstream had to be asked whether it still holds. */
  readonly outdated?: boolean;
}

const absentAsRemembered: Refusal = { kind: "absent", negative: true };

/** Milliseconds in which what upstream gave to a narrow Accept is given again. */
const acceptedFor = 10_000;
/** Refused manifests that are remembered to have been fetched. */
const maxLearned = 10_000;
/** Bytes of these answers in memory, about. */
const acceptedBytes = 8 * 1024 * 1024;

/** Upstream's words and relayed headers have a few KiB at most. */
function outcomeBytes(outcome: Outcome): number {
  const { body } = "manifest" in outcome ? outcome.manifest : { body: undefined, ...outcome };
  return 4096 + (body === undefined ? 0 : bodyBytes(body));
}

/** Upstream refuses it to one caller, which says nothing of what others may have. */
function isOfCaller({ registry }: RemoteRepository, { kind }: { readonly kind: string }): boolean {
  return kind === "denied" && registry.caller !== undefined;
}

/** Whether it is asked for a caller, so that the tag is one in use. Who is cut off causes no questions later either. */
function causesQuestions({ registry, onBehalfOf }: RemoteRepository): boolean {
  return onBehalfOf !== undefined && registry.cut === undefined;
}

/** The key of a question: those who are in a drill share it with nobody who is not. */
function sharedBy({ registry }: RemoteRepository, key: string): string {
  return registry.cut === "drill" ? `${key} drill` : key;
}

/** A question that one caller shares with nobody else. Writes do not end it, so its answer is not remembered. */
function ownQuestion(
  { registry }: RemoteRepository,
  key: string,
  ask: Question<Outcome>,
): [key: string, ask: Question<Outcome>] {
  return [`${key} ${registry.caller?.identity}`, () => ask(() => false)];
}

/** Whether a fresh tag is confirmed all the same. */
function isDue(
  { registry }: RemoteRepository,
  { checkedAt }: TagRecord,
  confirmAfter: number,
  now: number,
): boolean {
  return now - checkedAt > confirmAfter && registry.available;
}

/** The key among the kept answers under which it is kept that upstream does not have the tag. */
function absenceKey(tag: Tag): string {
  return `manifests/${tag}`;
}

export class Manifests {
  readonly #options: ManifestsOptions;
  readonly #source: ManifestSource;
  readonly #records: TagRecords;
  readonly #revalidation: Revalidation<Outcome>;
  readonly #incomplete: IncompleteImages;
  /** What upstream gave to clients that take only some media types. */
  readonly #accepted: LRUCache<string, Exclude<Outcome, { kind: "relay" }>>;
  /** Questions about tags that nobody waits for. */
  readonly #ahead = new SingleFlight<TagRefreshResult | undefined>();
  /** Refused manifests that were fetched. */
  readonly #learned = new LRUCache<Digest, true>({ max: maxLearned });
  /** Counts writes: what was asked before one is not given after it. */
  #writes = 0;

  constructor(options: ManifestsOptions) {
    this.#options = options;
    this.#source = new ManifestSource(options);
    this.#records = new TagRecords(options);
    this.#revalidation = new Revalidation({ clock: options.steady, pause: options.pause });
    const stored = (digest: Digest) => this.#source.stored(digest);
    this.#incomplete = new IncompleteImages({ ...options, clock: options.steady, stored });
    this.#accepted = new LRUCache({
      maxSize: acceptedBytes,
      sizeCalculation: (outcome, key) => 2 * key.length + outcomeBytes(outcome),
      ttl: acceptedFor,
      ttlResolution: 0,
      perf: { now: options.steady },
    });
  }

  /**
   * `confirmAfter`: milliseconds after which a fresh tag is confirmed all the same, while upstream may be asked.
   * Rejects with UpstreamError: when upstream has to answer and cannot, and with layers_missing (IncompleteImages.check); with
   * StoreError where Verdicts throws it, as everything that opens a manifest.
   */
  async open(...asked: Parameters<Manifests["openAtOnce"]>): Promise<ManifestOpened> {
    return this.openAtOnce(...asked);
  }

  /** As `open`, and at once when all that is needed is in memory: promises were a tenth of what that costs. */
  openAtOnce(
    remote: RemoteRepository,
    reference: Reference,
    confirmAfter = Number.POSITIVE_INFINITY,
  ): ManifestOpened | Promise<ManifestOpened> {
    const opened =
      reference.kind === "tag"
        ? this.#openTag(remote, reference.tag, confirmAfter)
        : this.#options.verdicts.any
          ? this.#openUnrefused(remote, reference.digest)
          : this.#byDigest(remote, reference.digest);
    if (opened instanceof Promise) return opened.then((found) => this.#judged(remote, found));
    return this.#judged(remote, opened);
  }

  async #openUnrefused(remote: RemoteRepository, digest: Digest): Promise<ManifestOpened> {
    const refusal = await this.#refusal(remote, digest);
    if (refusal === undefined) return this.#byDigest(remote, digest);
    await this.#learn(remote, digest);
    return refusal;
  }

  /** Fetches a refused manifest, once, so that it is known what else is refused: its client may get it elsewhere. Never rejects. */
  async #learn(remote: RemoteRepository, digest: Digest): Promise<void> {
    if (this.#learned.has(digest)) return;
    this.#learned.set(digest, true);
    try {
      const opened = await this.#byDigest(remote, digest);
      if (opened.kind === "found" && "reader" in opened) await opened.reader.close();
    } catch {
      // Upstream is away, or the store fails: who asks next is told, too.
      this.#learned.delete(digest);
    }
  }

  #openTag(
    remote: RemoteRepository,
    tag: Tag,
    confirmAfter: number,
  ): ManifestOpened | Promise<ManifestOpened> {
    const ttl = this.#options.freshness().ttl(remote, tag);
    const known = this.#records.get(remote, tag);
    const held = known instanceof Promise ? undefined : this.#held(remote, known, ttl, confirmAfter);
    return held ?? this.#byTag(remote, tag, { known, ttl, confirmAfter });
  }

  /**
   * What upstream gives for the tag to a client that takes only these media types: another form of the image, or nothing.
   * It is no question of the tag's record, which the answer leaves as it is. Rejects with UpstreamError when upstream does
   * not answer: what is here is what the client has not asked for.
   */
  async openAs(remote: RemoteRepository, tag: Tag, accept: string): Promise<ManifestOpened> {
    return this.#judged(remote, await this.#openAs(remote, tag, accept));
  }

  async #openAs(remote: RemoteRepository, tag: Tag, accept: string): Promise<ManifestOpened> {
    const key = keyIn(remote, `${tag} ${this.#writes} ${accept}`);
    const known = this.#accepted.get(key);
    if (known === undefined) return this.#answer(remote, await this.#askAs(remote, tag, accept, key));
    const opened = await this.#answer(remote, { value: known, joined: false });
    if (opened.kind === "absent") return { ...opened, negative: true };
    return "body" in opened ? { ...opened, result: "hit", source: "memory" } : opened;
  }

  #askAs(remote: RemoteRepository, tag: Tag, accept: string, key: string): Promise<Answered> {
    return this.#fetch(remote, key, async () => {
      const outcome = this.#outcomeOf(remote, await this.#source.byTagAs(remote, tag, accept));
      if (outcome.kind !== "relay") this.#accepted.set(key, outcome);
      return outcome;
    });
  }

  /**
   * A client has written the reference upstream through this node: the next client is given what is there now.
   * `unsure` when the write may or may not have happened: a tag has to be confirmed, and stays for when upstream fails.
   */
  async changed(scope: Scope, reference: Reference, what: "pushed" | "deleted" | "unsure"): Promise<void> {
    this.#writes++;
    if (reference.kind === "digest") {
      if (what === "pushed") return;
      this.#records.manifestDeleted(scope, reference.digest);
      await this.#options.access.unlink(scope, reference.digest);
      return;
    }
    const { tag } = reference;
    if (what !== "deleted") this.#options.kept.delete(scope, absenceKey(tag));
    const record = what === "unsure" ? await this.#records.get(scope, tag) : undefined;
    this.#forgetQuestions(scope, tag);
    await this.#records.delete(scope, tag);
    const { freshness, clock } = this.#options;
    const expired = freshness().expired(freshness().ttl(scope, tag), clock());
    const checkedAt = Math.min(record?.checkedAt ?? 0, expired);
    if (record !== undefined && Number.isFinite(checkedAt))
      await this.#records.put(scope, tag, { ...record, checkedAt }, undefined);
  }

  /**
   * The tag names what an operator has brought here. Nobody has asked upstream: it has to confirm the tag while it answers, and the
   * record stays for when it does not, or is asked for nothing (`offline`).
   */
  async imported(scope: Scope, tag: Tag, named: Omit<TagRecord, "checkedAt" | "askedAt">): Promise<void> {
    const { freshness, clock, kept } = this.#options;
    const expired = freshness().expired(freshness().ttl(scope, tag), clock());
    const checkedAt = Number.isFinite(expired) ? expired : clock();
    const known = await this.#records.get(scope, tag);
    if (known?.digest === named.digest && known.checkedAt >= checkedAt) return;
    this.#writes++;
    kept.delete(scope, absenceKey(tag));
    this.#forgetQuestions(scope, tag);
    await this.#records.put(scope, tag, { ...named, checkedAt }, known);
  }

  /** Another node has changed the record of the tag: a question under way may still bring the answer of before. */
  changedElsewhere(scope: Scope, tag: Tag): void {
    this.#writes++;
    this.#forgetQuestions(scope, tag);
  }

  /** Something was purged: what upstream gave before to clients that take only some media types is not given again. */
  purged(): void {
    this.#writes++;
  }

  /** Those under way may still bring the answer of before a write. */
  #forgetQuestions(scope: Scope, tag: Tag): void {
    const key = keyIn(scope, tag);
    this.#revalidation.forget(key);
    this.#ahead.detach(key);
  }

  /**
   * What upstream says now that the tag is, whatever its time to live; the record follows, and stays when this rejects, with
   * UpstreamError.
   */
  async refreshNow(remote: RemoteRepository, tag: Tag): Promise<ManifestOpened> {
    const record = await this.#records.get(remote, tag);
    this.#forgetQuestions(remote, tag);
    const asked = await this.#fetch(remote, keyIn(remote, tag), this.#question(remote, tag, record));
    return this.#judged(remote, await this.#answer(remote, { ...asked, outdated: record !== undefined }));
  }

  // ---- ahead of clients ---------------------------------------------------------------------------------------

  /** The record of a tag that is answered without asking upstream. */
  async fresh(scope: Scope, tag: Tag): Promise<TagRecord | undefined> {
    const record = await this.#records.get(scope, tag);
    if (record === undefined) return undefined;
    const { freshness, clock } = this.#options;
    return this.#state(scope, record, freshness().ttl(scope, tag), clock()) === "fresh" ? record : undefined;
  }

  /**
   * Asks upstream by HEAD, in the background, whether the record of the tag still holds. One that has moved is asked about again as
   * for a client, so that its manifest is here for the next one. Upstream's refusal changes nothing: the next client asks
   * again, and is told why. Undefined when something was written meanwhile. Rejects with UpstreamError.
   */
  async confirmAhead(
    remote: RemoteRepository,
    tag: Tag,
    record: TagRecord,
  ): Promise<TagRefreshResult | undefined> {
    const { clock } = this.#options;
    const key = keyIn(remote, tag);
    return this.#ahead.run(key, async (counts) => {
      const askedAt = clock();
      const head = await remote.registry.headManifest(remote.repository, { kind: "tag", tag }, "background");
      this.#incomplete.answered(remote);
      if (head.kind !== "found" || head.digest === undefined) return "refused";
      const { digest, mediaType, size } = record;
      const isHere = head.digest === digest && (await this.#source.stored(digest)) !== undefined;
      if (!counts()) return undefined;
      if (!isHere)
        return this.#askBehind(key, record, this.#question(remote, tag, record))?.promise ?? "failed";
      const checkedAt = clock() - (head.age ?? 0) * 1000;
      await this.#keep(remote, tag, { digest, mediaType, size, checkedAt }, { askedAt, known: record });
      return "confirmed";
    }).promise;
  }

  /**
   * Asks as for a client, and no client waits for the answer. Undefined, and nothing is asked, right after a failure and
   * while upstream is slow. The promise rejects with UpstreamError.
   */
  #askBehind(
    key: string,
    record: TagRecord,
    ask: Question<Outcome>,
  ): { readonly promise: Promise<TagRefreshResult>; readonly joined: boolean } | undefined {
    const asked = this.#revalidation.behind(key, ask);
    if (asked === undefined) return undefined;
    const ended = async (): Promise<TagRefreshResult> => {
      const outcome = await asked.promise;
      if (isRefusal(outcome)) return "refused";
      if (outcome.kind === "relay" && !asked.joined) {
        // Nobody may want it, and it is not kept.
        const opened = await outcome.relay.open();
        if (opened.kind === "found") await opened.reader.close();
      }
      return outcome.kind === "found" && outcome.record.digest === record.digest ? "confirmed" : "moved";
    };
    return { promise: ended(), joined: asked.joined };
  }

  // ---- by digest ----------------------------------------------------------------------------------------------

  #byDigest(remote: RemoteRepository, digest: Digest): ManifestOpened | Promise<ManifestOpened> {
    const held = this.#options.local.heldManifest(digest);
    if (held === undefined) return this.#notHeld(remote, digest);
    const isLinked = this.#options.access.linked(remote, digest);
    return isLinked === true ? this.#hit(remote, digest, held) : this.#here(remote, digest, held, isLinked);
  }

  /** As `open`, for another node: what is here, if the repository is known to have it. Upstream is not asked, nor any node. */
  async openForPeer(remote: RemoteRepository, digest: Digest): Promise<ManifestOpened> {
    const here = await this.#source.stored(digest);
    if (here === undefined || !(await this.#options.access.linked(remote, digest))) return { kind: "absent" };
    return this.#judged(remote, await this.#hit(remote, digest, here));
  }

  /** As `openForPeer`, and without the shared store; see BlobCache.openCached. Rejects with UpstreamError not_cached. */
  async openCached(remote: RemoteRepository, digest: Digest): Promise<ManifestOpened> {
    const { access, local, verdicts } = this.#options;
    const refusal = verdicts.any ? await this.#refusal(remote, digest) : undefined;
    if (refusal !== undefined) return refusal;
    const here = (await access.linked(remote, digest)) ? await local.manifest(digest) : undefined;
    if (here === undefined) throw notCached(remote.upstream);
    const { source, body, mediaType } = here;
    return this.#judged(remote, { kind: "found", result: "hit", digest, age: 0, source, body, mediaType });
  }

  /** A manifest that is here, for a repository that may have to prove its right to it. `isLinked` as in Access.prove. */
  async #here(
    remote: RemoteRepository,
    digest: Digest,
    here: LocalManifest,
    isLinked?: boolean | Promise<boolean>,
  ): Promise<ManifestOpened> {
    const proof = await this.#options.access.prove(remote, digest, "manifest", isLinked);
    if (isRefusal(proof)) return proof;
    if (proof.kind === "found") await this.#source.link(remote, digest, here);
    return this.#hit(remote, digest, here);
  }

  #hit(
    remote: RemoteRepository,
    digest: Digest,
    { source, body, mediaType }: LocalManifest,
  ): OpenedManifest | Promise<OpenedManifest> {
    const age = 0;
    return this.#pullable(remote, { kind: "found", result: "hit", digest, age, source, body, mediaType });
  }

  /** A manifest that is not in memory. */
  async #notHeld(remote: RemoteRepository, digest: Digest): Promise<ManifestOpened> {
    const { access, negative } = this.#options;
    const here = await this.#source.stored(digest);
    if (here !== undefined) return this.#here(remote, digest, here);
    if (negative.has(remote, "manifest", digest)) return absentAsRemembered;
    const answered = await this.#fetch(remote, keyIn(remote, digest), async () => {
      const asked = new Set<string>();
      const resolution = this.#source.byDigest(remote, digest, asked).catch(async (error: unknown) => {
        const near = await this.#source.fromNode(remote, digest, asked);
        if (near === undefined) throw error;
        return near;
      });
      return this.#outcomeOf(remote, await resolution);
    });
    if (answered.value.kind === "absent") {
      await access.unlink(remote, digest);
      negative.add(remote, "manifest", digest);
    }
    return this.#answer(remote, answered);
  }

  // ---- by tag -------------------------------------------------------------------------------------------------

  /** A fresh tag whose manifest is in memory; undefined for every other. */
  #held(
    remote: RemoteRepository,
    record: TagRecord | undefined,
    ttl: number,
    confirmAfter: number,
  ): OpenedManifest | Promise<OpenedManifest> | undefined {
    if (record === undefined) return undefined;
    const now = this.#options.clock();
    if (this.#state(remote, record, ttl, now) !== "fresh") return undefined;
    if (isDue(remote, record, confirmAfter, now)) return undefined;
    const manifest = this.#options.local.heldManifest(record.digest);
    return manifest && this.#freshHit(remote, { record, manifest }, ttl, now);
  }

  /** The answer to a client whose tag needs no confirmation. */
  #freshHit(
    remote: RemoteRepository,
    stored: StoredTag,
    ttl: number,
    now: number,
  ): OpenedManifest | Promise<OpenedManifest> {
    if (causesQuestions(remote)) stored.record.askedAt = now;
    return this.#pullable(remote, this.#found("hit", stored, ttl, now));
  }

  async #byTag(
    remote: RemoteRepository,
    tag: Tag,
    asked: {
      readonly known: ReturnType<TagRecords["get"]>;
      readonly ttl: number;
      readonly confirmAfter: number;
    },
  ): Promise<ManifestOpened> {
    const { negative, clock } = this.#options;
    const freshness = this.#options.freshness();
    const { ttl, confirmAfter } = asked;
    const known = await asked.known;
    const datedBack = known && freshness.datedBack(known, ttl, clock());
    if (datedBack !== undefined) await this.#records.put(remote, tag, datedBack, known);
    const record = datedBack ?? known;
    const manifest = record && (await this.#source.stored(record.digest));
    const stored = record !== undefined && manifest !== undefined ? { record, manifest } : undefined;
    const now = clock();
    const own = record && this.#state(remote, record, ttl, now);
    const due = record !== undefined && isDue(remote, record, confirmAfter, now);
    const state = own === "fresh" && due ? "stale" : own;
    if (stored !== undefined && state === "fresh") return this.#freshHit(remote, stored, ttl, now);
    if (negative.has(remote, "manifest", tag)) return absentAsRemembered;
    const key = keyIn(remote, tag);
    const ask = this.#question(remote, tag, record);
    if (stored !== undefined && confirmAfter === Number.POSITIVE_INFINITY) {
      const opened = this.#whileRevalidating(remote, { stored, ttl, now }, key, ask);
      if (opened !== undefined) {
        this.#noteAsked(remote, tag);
        return opened;
      }
    }
    if (stored === undefined || state !== "stale") {
      const subject = stored === undefined ? subjectOfTag(tag) : undefined;
      if (subject !== undefined) return this.#byFallbackTag(remote, tag, subject, ask);
      const answered = await this.#fetch(remote, key, ask).catch(async (reason: unknown) => {
        const isKnown = own === "fresh" || own === "stale";
        if (record === undefined || stored !== undefined || !isKnown || !(reason instanceof UpstreamError))
          throw reason;
        const near = await this.#source.fromNode(remote, record.digest);
        if (near?.kind !== "found") throw reason;
        return { near: { record, manifest: near.manifest }, reason };
      });
      this.#noteAsked(remote, tag);
      if ("value" in answered) return this.#answer(remote, { ...answered, outdated: stored !== undefined });
      const { near, reason } = answered;
      if (own === "fresh") return this.#freshHit(remote, near, ttl, now);
      return this.#stale(remote, tag, { stored: near, ttl, reason });
    }
    const refreshed = await this.#refresh(remote, key, ask);
    this.#noteAsked(remote, tag);
    return refreshed.kind === "answered"
      ? this.#answer(remote, { ...refreshed, outdated: true })
      : this.#stale(remote, tag, { stored, ttl, reason: refreshed.reason });
  }

  /** Upstream was asked about the tag, or is being asked, for a caller. */
  #noteAsked(remote: RemoteRepository, tag: Tag): void {
    if (causesQuestions(remote)) this.#options.regular.asked(remote, tag);
  }

  /**
   * The answer with a record that is no longer fresh, and is being confirmed behind it (RFC 5861, section 3); undefined when
   * upstream has to be waited for. A tag that is to be asked about every time is waited for.
   */
  #whileRevalidating(
    remote: RemoteRepository,
    { stored, ttl, now }: { readonly stored: StoredTag; readonly ttl: number; readonly now: number },
    key: string,
    ask: Question<Outcome>,
  ): OpenedManifest | Promise<OpenedManifest> | undefined {
    const { record } = stored;
    const { notices } = this.#options;
    const freshness = this.#options.freshness();
    if (ttl === 0 || !freshness.mayServeWhileRevalidating(record, ttl, now)) return undefined;
    if (!remote.registry.available || this.#records.isDoubtful(remote, record)) return undefined;
    const asked = this.#askBehind(key, record, ask);
    if (asked === undefined) return undefined;
    const { upstream } = remote;
    const note = (result: TagRefreshResult): void => {
      if (!asked.joined) notices({ kind: "tag_refresh", upstream, when: "stale", result });
    };
    asked.promise.then(note, (error) => {
      note(error instanceof UpstreamError && error.code === "rate_limited" ? "rate_limited" : "failed");
    });
    return this.#pullable(remote, this.#found("hit", stored, ttl, now));
  }

  /** What upstream is asked about a tag for clients. */
  #question(remote: RemoteRepository, tag: Tag, record: TagRecord | undefined): Question<Outcome> {
    return async (counts) => this.#outcomeOf(remote, await this.#resolve(remote, tag, record, counts));
  }

  /**
   * A tag that stands for the referrers of `subject` and is not here. That upstream does not have it is an answer that
   * clients need while upstream is away. When upstream was never asked before it went away, the answer is that there are
   * none, where the manifest is known (KeptAnswers.unknown).
   */
  async #byFallbackTag(
    remote: RemoteRepository,
    tag: Tag,
    subject: Digest,
    ask: Question<Outcome>,
  ): Promise<ManifestOpened> {
    const { kept } = this.#options;
    const key = keyIn(remote, tag);
    if (kept.get(remote, absenceKey(tag)) !== undefined) {
      const refreshed = await this.#refresh(remote, key, ask);
      if (refreshed.kind === "failed") return { kind: "absent", negative: true, reason: refreshed.reason };
      return this.#answer(remote, refreshed);
    }
    try {
      return await this.#answer(remote, await this.#fetch(remote, key, ask));
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      return await kept.unknown(remote, subject, error);
    }
  }

  #state(scope: Scope, record: TagRecord, ttl: number, now: number): ReturnType<Freshness["state"]> {
    const state = this.#options.freshness().state(scope, record, ttl, now);
    return state === "fresh" && this.#records.isDoubtful(scope, record) ? "stale" : state;
  }

  async #stale(
    remote: RemoteRepository,
    tag: Tag,
    { stored, ttl, reason }: { stored: StoredTag; ttl: number; reason: UpstreamError },
  ): Promise<OpenedManifest> {
    if (remote.registry.cut !== "drill") this.#incomplete.failed(remote);
    const stale = {
      ...(await this.#pullable(remote, this.#found("stale", stored, ttl))),
      reason,
    };
    // Else nothing has failed.
    if (remote.registry.cut === undefined)
      this.#options.notices({
        kind: "stale_served",
        upstream: remote.upstream,
        repository: remote.repository,
        tag,
        ageMs: stale.age,
        reason: reason.code,
      });
    return stale;
  }

  async #resolve(
    remote: RemoteRepository,
    tag: Tag,
    record: TagRecord | undefined,
    counts: () => boolean,
  ): Promise<Resolution> {
    const askedAt = this.#options.clock();
    const resolution = await this.#source.byTag(remote, tag, record);
    this.#incomplete.answered(remote);
    if (!counts()) return resolution;
    const { kept, negative, sights } = this.#options;
    if (resolution.kind === "found")
      await this.#keep(remote, tag, resolution.record, { askedAt, known: record });
    else if (!isOfCaller(remote, resolution)) {
      await this.#records.delete(remote, tag);
      if (resolution.kind === "absent") await sights.gone(remote, tag, askedAt, record);
      else if (resolution.kind !== "denied")
        await sights.named(remote, tag, resolution.digest, askedAt, record);
    }
    const subject = subjectOfTag(tag);
    if (subject !== undefined) {
      if (resolution.kind === "absent")
        kept.put(remote, absenceKey(tag), subject, { content: undefined, at: askedAt });
      else if (!isOfCaller(remote, resolution)) kept.delete(remote, absenceKey(tag));
    } else if (resolution.kind === "absent") negative.add(remote, "manifest", tag);
    return resolution;
  }

  /** What upstream was asked at `askedAt` and has just said of the tag. */
  async #keep(
    remote: RemoteRepository,
    tag: Tag,
    record: TagRecord,
    { askedAt, known }: { readonly askedAt: number; readonly known: TagRecord | undefined },
  ): Promise<void> {
    // A question that was asked before the manifest was deleted may bring the state of before, whenever it is answered.
    const asOfQuestion = { ...record, checkedAt: Math.min(askedAt, record.checkedAt) };
    const kept = this.#records.isDoubtful(remote, asOfQuestion) ? asOfQuestion : record;
    await this.#records.put(remote, tag, kept, known);
    const { freshness, regular, sights } = this.#options;
    await sights.named(remote, tag, record.digest, askedAt, known);
    regular.confirmed(remote, tag, kept, freshness().ttl(remote, tag), known);
  }

  /** As in Revalidation. What another caller was refused, whose question was shared, is asked again for this one. */
  async #fetch(
    remote: RemoteRepository,
    key: string,
    ask: Question<Outcome>,
  ): Promise<Awaited<ReturnType<Revalidation<Outcome>["fetch"]>>> {
    const answered = await this.#revalidation.fetch(sharedBy(remote, key), ask);
    if (!answered.joined || !isOfCaller(remote, answered.value)) return answered;
    return this.#revalidation.fetch(...ownQuestion(remote, key, ask));
  }

  /** The same. */
  async #refresh(
    remote: RemoteRepository,
    key: string,
    ask: Question<Outcome>,
  ): Promise<Revalidated<Outcome>> {
    const refreshed = await this.#revalidation.refresh(sharedBy(remote, key), ask);
    if (refreshed.kind === "failed" || !refreshed.joined || !isOfCaller(remote, refreshed.value))
      return refreshed;
    return this.#revalidation.refresh(...ownQuestion(remote, key, ask));
  }

  // ---- what may be given out ----------------------------------------------------------------------------------

  /** Undefined: it is not refused by its digest, before anybody is asked for it. Only where something may be refused. */
  async #refusal(remote: RemoteRepository, digest: Digest): Promise<Refusal | undefined> {
    const verdict = await this.#options.verdicts.manifest(remote, digest);
    return verdict.kind === "allowed" ? undefined : refusalOf(verdict);
  }

  /** To be asked of all that is opened: by now it is known what it names, and something may have been blocked meanwhile. */
  #judged(remote: RemoteRepository, opened: ManifestOpened): ManifestOpened | Promise<ManifestOpened> {
    const { verdicts } = this.#options;
    if (!verdicts.any || opened.kind !== "found") return opened;
    const { digest } = opened;
    try {
      const verdict = verdicts.manifest(remote, digest, "reader" in opened ? undefined : opened);
      if (verdict instanceof Promise) return verdict.then((each) => orRefusal(opened, each));
      return verdict.kind === "allowed" ? opened : orRefusal(opened, verdict);
    } catch (error) {
      if ("reader" in opened) void opened.reader.close().catch(() => {});
      throw error;
    }
  }

  // ---- answers ------------------------------------------------------------------------------------------------

  /** A manifest that is too large to be kept begins to be relayed here, once for all requests that share the question. */
  #outcomeOf(remote: RemoteRepository, resolution: Resolution): Outcome {
    if (resolution.kind !== "oversize") return resolution;
    const { digest, mediaType } = resolution;
    const relay = this.#options.blobs.relayManifest(remote, digest, resolution);
    return { kind: "relay", mediaType, relay };
  }

  async #answer(remote: RemoteRepository, { value, joined, outdated }: Answered): Promise<ManifestOpened> {
    switch (value.kind) {
      case "absent":
      case "denied":
        return value;
      case "found": {
        const { how, cacheStatus, relayed } = value;
        return {
          ...this.#found(joined ? "joined" : how, value),
          ...(outdated ? { outdated } : {}),
          ...(cacheStatus === undefined ? {} : { cacheStatus }),
          ...(relayed === undefined ? {} : { relayed }),
        };
      }
      case "uncached": {
        const { digest, mediaType, body } = value;
        const source: Source = `upstream:${remote.upstream}`;
        return { result: "miss", digest, mediaType, ...inMemory(source, body), kind: "found" };
      }
      case "relay": {
        const { mediaType, relay } = value;
        const { digest } = relay;
        // A request that comes too late for the beginning has a transfer of its own.
        const joinable = relay.joinable() ? relay : this.#options.blobs.relayManifest(remote, digest);
        const opened = await joinable.open();
        return opened.kind === "found" ? { ...opened, digest, mediaType } : opened;
      }
    }
  }

  /**
   * An answer that was given without upstream, when the image can be pulled without upstream too. Rejects with
   * UpstreamError layers_missing otherwise, where the configuration says so.
   */
  #pullable(remote: RemoteRepository, found: OpenedManifest): OpenedManifest | Promise<OpenedManifest> {
    if (!this.#incomplete.watched(remote)) return found;
    return this.#incomplete.check(remote, found.digest, found).then(() => found);
  }

  /** `ttl` only for an answer that was given without upstream. */
  #found(
    result: OpenedManifest["result"],
    { record, manifest }: StoredTag,
    ttl?: number,
    now = this.#options.clock(),
  ): OpenedManifest {
    const age = Math.max(0, now - record.checkedAt);
    const found = { kind: "found", result, digest: record.digest, age, ...manifest } as const;
    return ttl === undefined ? found : { ...found, freshFor: ttl - age };
  }
}

async function orRefusal(
  opened: RelayedManifest | OpenedManifest,
  verdict: Verdict,
): Promise<ManifestOpened> {
  if (verdict.kind === "allowed") return opened;
  if ("reader" in opened) await opened.reader.close();
  return refusalOf(verdict);
}
