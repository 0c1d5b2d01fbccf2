// Blobs for clients: opened from this node when they are here, else by starting or joining a fill. There is one upstream
// transfer per digest, however many clients ask and whichever repositories they name. Every client's right to the blob is
// proved for its own repository.
import { type Digest, sizeFits } from "../oci/digest.ts";
import type { BlobReader } from "../ports/blobs.ts";
import type { Blocked } from "../ports/block/blocked.ts";
import { BlockedError, refusalOf, type Verdicts } from "../ports/block/verdict.ts";
import type { Source, UnverifiedAnswer } from "../ports/event.ts";
import { isSameScope, type Scope } from "../ports/scope.ts";
import { currentSpan } from "../ports/tracing/span.ts";
import { notCached, type RemoteRepository } from "../ports/upstream.ts";
import { isRefusal, type OversizeAnswer, type Refusal } from "../ports/upstream-answer.ts";
import { type Proof, Unproved } from "./access.ts";
import { type Fill, type FillHead, NearbyMismatch } from "./fill/fill.ts";
import { type Filling, Fills, type FillsOptions } from "./fill/fills.ts";
import type { BlobUse, LocalBlob } from "./local-blobs.ts";
import type { NegativeAnswers } from "./negative-answers.ts";

/**
 * How often a request tries to find the blob or a fill of it: the fill it wanted to join may have ended, been refused to
 * another repository, or been given wrong bytes by another node. After that the request starts a fill of its own.
 */
const maxLookups = 3;

export interface BlobCacheOptions extends FillsOptions {
  readonly negative: NegativeAnswers;
  /** Asked for everything that is opened here, and for HEAD. */
  readonly verdicts: Verdicts;
}

export interface OpenedBlob {
  readonly kind: "found";
  readonly result: "hit" | "miss" | "joined";
  readonly source: Source;
  /** Bytes of the whole blob; undefined while upstream sends without a length. */
  readonly size: number | undefined;
  /** Cache-Status of upstream's answer, when it was asked for this request. */
  readonly cacheStatus?: string;
  /** To be closed by the caller that opened it. */
  readonly reader: BlobReader;
  /** All of a small blob that is here. */
  readonly body?: Buffer;
  /** See LocalBlob. */
  readonly plain?: boolean;
  /** Of a blob on its way: resolves with its size once all of it is here and verified, rejects when it will not be. */
  readonly whole?: () => Promise<number>;
  /**
   * The same: a client is answered with a part of the blob. False when that is verified by now; otherwise the client is told
   * of in the log when the digest turns out to be wrong.
   */
  readonly noteUnverified?: (answer: UnverifiedAnswer) => boolean;
}

/** A manifest that is sent on while it comes from upstream, and not kept. */
export interface ManifestRelay {
  readonly digest: Digest;
  /** Whether it can still be read from its first byte. */
  joinable(): boolean;
  /** Rejects with UpstreamError. */
  open(): Promise<OpenedBlob | Refusal>;
}

export type BlobFound = Omit<OpenedBlob, "reader" | "body" | "plain" | "whole" | "noteUnverified">;

/** A blob in the shared store and not here: the client may fetch it there. */
export interface BlobElsewhere extends Omit<BlobFound, "kind"> {
  readonly kind: "elsewhere";
  /** Its query is a secret. */
  readonly url: URL;
}

/** Whether a request may start a fill now, or has to wait. */
export interface FillAdmission {
  /**
   * Undefined when a fill may start now. Otherwise a promise that resolves when a new attempt is worth it, since a fill may
   * start then or another one has; it rejects when none is to be started. Also throws.
   */
  enter(): Promise<void> | undefined;
  /** A fill has been started on it, which lasts until `done`. */
  started(done: Promise<unknown>): void;
  /** The request follows a fill that had been started, which needs no admission. */
  joined?(): void;
}

type FoundHead = Extract<FillHead, { readonly kind: "found" }>;

export class BlobCache {
  readonly #options: BlobCacheOptions;
  readonly #fills: Fills;

  constructor(options: BlobCacheOptions) {
    this.#options = options;
    this.#fills = new Fills(options);
  }

  /**
   * Opens the blob for a client of the repository that wants all of it or some part. Rejects with UpstreamError when
   * upstream has to answer and cannot, and with the error of `admission`, which is asked before a fill is started.
   * Without `admission` a fill may always start. With StoreError where Verdicts throws it, as everything that opens a blob.
   */
  async open(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse = "whole",
    admission?: FillAdmission,
  ): Promise<OpenedBlob | BlobElsewhere | Refusal> {
    const refusal = this.#options.verdicts.any ? await this.#refusal(remote, digest) : undefined;
    return refusal ?? this.#judged(remote, digest, await this.#openAny(remote, digest, use, admission));
  }

  async #openAny(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
    admission: FillAdmission | undefined,
  ): Promise<OpenedBlob | BlobElsewhere | Refusal> {
    const { negative } = this.#options;
    if (negative.has(remote, "blob", digest)) return { kind: "absent", negative: true };
    const opened =
      (await this.#elsewhere(remote, digest)) ?? (await this.#open(remote, digest, use, admission));
    if (opened.kind === "absent") negative.add(remote, "blob", digest);
    return opened;
  }

  /** Undefined when the client is to get the blob from this node. */
  async #elsewhere(remote: RemoteRepository, digest: Digest): Promise<BlobElsewhere | Refusal | undefined> {
    const { local, access, sharing } = this.#options;
    const redirect = sharing?.blobs?.redirect;
    if (
      redirect === undefined ||
      this.#fills.distrusts(digest) ||
      local.indexed(digest) ||
      this.#fills.of(digest) !== undefined
    )
      return undefined;
    const shared = await this.#sharedHead(digest);
    if (shared?.size === undefined || shared.size < redirect.above) return undefined;
    if (await this.#isDoubtful(remote, digest, shared.size)) return undefined;
    const proof = await access.prove(remote, digest, "blob").catch(onlyIfUnproved);
    if (proof === undefined || isRefusal(proof)) return proof;
    const url = await redirect.presign(digest).catch(() => undefined);
    return url && { ...shared, kind: "elsewhere", url };
  }

  async #open(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
    admission: FillAdmission | undefined,
  ): Promise<OpenedBlob | Refusal> {
    if (remote.registry.cut === "drill") return await this.#near(remote, digest, use, admission);
    for (let lookups = 1; ; ) {
      // Waiting for admission does not count as a lookup.
      const start = async (): Promise<OpenedBlob | Refusal | "waited"> => {
        const waiting = admission?.enter();
        if (waiting === undefined) return this.#start(remote, digest, use, admission);
        await waiting;
        return "waited";
      };
      const opened = await (lookups <= maxLookups
        ? this.#find(remote, digest, use, start, admission).catch(againAfterMismatch)
        : this.#alone(remote, digest, start, admission));
      if (opened !== "again" && opened !== "waited") return opened;
      if (opened === "again") lookups++;
    }
  }

  /**
   * For a client in a drill: what is here, in the store all nodes share or at another node. It joins no fill of this node that
   * upstream sends, and starts none that upstream would have to. Another node gives what it is fetching, too (`openForPeer`).
   */
  async #near(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
    admission: FillAdmission | undefined,
  ): Promise<OpenedBlob | Refusal> {
    const { access, sharing = {} } = this.#options;
    const here = await this.#onDisk(remote, digest, use);
    if (here !== undefined) return here;
    if (await access.linked(remote, digest)) {
      const isNear =
        (await this.#sharedHead(digest)) !== undefined ||
        (await sharing.holders?.find(remote, digest, "blob")) !== undefined;
      if (isNear) await admission?.enter();
      const filling = this.#fills.joinable(digest);
      // All of it is here, or it comes from nearby.
      const isJoined =
        filling?.fill.verified === true || (filling?.source.result("miss") ?? "miss") !== "miss";
      const opened =
        filling === undefined
          ? isNear && (await this.#start(remote, digest, use, admission))
          : isJoined && (await this.#follow(filling, "joined", remote));
      // A refusal is that of the upstream of another follower, which was asked when the place nearby had failed.
      if (opened !== false && !isRefusal(opened)) return opened;
    }
    const head = await remote.registry.headBlob(remote.repository, digest);
    return isRefusal(head) ? head : { kind: "absent" };
  }

  /** What is on the disk, if the repository is known to have it or upstream says so; undefined when it is not there. */
  async #onDisk(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
  ): Promise<OpenedBlob | Refusal | undefined> {
    const here = await this.#options.local.open(digest, use);
    if (here === undefined) return undefined;
    const proof = await this.#prove(remote, digest, here);
    if (proof === undefined || isRefusal(proof)) return proof ?? { kind: "absent" };
    return { kind: "found", result: "hit", ...here };
  }

  /** Joins only a fill for this very repository, else starts one. */
  async #alone<S>(
    remote: RemoteRepository,
    digest: Digest,
    start: () => Promise<S>,
    admission: FillAdmission | undefined,
  ): Promise<OpenedBlob | Refusal | S> {
    const filling = this.#fills.joinable(digest);
    return filling !== undefined &&
      isSameAsker(filling.remote, remote) &&
      this.#holds(filling, remote, digest)
      ? this.#join(filling, remote, admission)
      : start();
  }

  #join(
    filling: Filling,
    remote: RemoteRepository,
    admission: FillAdmission | undefined,
  ): Promise<OpenedBlob | Refusal> {
    const opened = this.#follow(filling, "joined", remote);
    if (filling.fill.span !== undefined) currentSpan()?.link(filling.fill.span);
    admission?.joined?.();
    return opened;
  }

  /**
   * As `open`, for another node of this datacenter that fills its own store: gives only what is here or on its way, so
   * that nodes never wait for each other. Rejects with UpstreamError when upstream has to prove the right and cannot.
   */
  async openForPeer(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse = "whole",
  ): Promise<OpenedBlob | Refusal> {
    const absent: Refusal = { kind: "absent" };
    const refusal = this.#options.verdicts.any ? await this.#refusal(remote, digest) : undefined;
    if (refusal !== undefined) return refusal;
    const opened = await this.#find(remote, digest, use, async () => absent);
    return opened === "again" ? { kind: "absent" } : this.#judged(remote, digest, opened);
  }

  /** As `openForPeer`, for HEAD. What is about to come may be waiting for the answer of the node that asks: it is not there. */
  async headForPeer(remote: RemoteRepository, digest: Digest): Promise<BlobFound | Refusal> {
    const refusal = this.#options.verdicts.any ? await this.#refusal(remote, digest) : undefined;
    if (refusal !== undefined) return refusal;
    const filling = this.#fills.joinable(digest);
    if (filling !== undefined && filling.fill.size === undefined) return { kind: "absent" };
    const opened =
      filling === undefined
        ? await this.#onDisk(remote, digest, "part")
        : await this.openForPeer(remote, digest, "part");
    if (opened?.kind !== "found") return opened ?? { kind: "absent" };
    await opened.reader.close();
    const { kind, result, source, size } = opened;
    return { kind, result, source, size };
  }

  /**
   * For a client that wants nothing but what is held (only-if-cached, RFC 9111 section 5.2.1.7): what is on the disk, or on its way
   * from upstream with its size known, to a repository that is known to have it. Neither upstream is asked, nor another node, nor
   * the shared store. `verified`: nothing of which the digest is not known to be right. Rejects with UpstreamError not_cached.
   */
  async openCached(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
    verified = false,
  ): Promise<OpenedBlob | Refusal> {
    const { access, local } = this.#options;
    const refusal = this.#options.verdicts.any ? await this.#refusal(remote, digest) : undefined;
    if (refusal !== undefined) return refusal;
    if (await access.linked(remote, digest)) {
      const here = await local.open(digest, use);
      if (here !== undefined) return this.#judged(remote, digest, { kind: "found", result: "hit", ...here });
      const filling = this.#fills.joinable(digest);
      const isSound = filling?.fill.verified === true || !verified;
      if (filling?.source.fromUpstream && filling.fill.announced && isSound) {
        const opened = await this.#follow(filling, "joined", remote);
        if (opened.kind === "found") return this.#judged(remote, digest, opened);
      }
    }
    throw notCached(remote.upstream);
  }

  /** As `openCached`, for HEAD. */
  async headCached(remote: RemoteRepository, digest: Digest): Promise<BlobFound | Refusal> {
    const opened = await this.openCached(remote, digest, "probe");
    if (isRefusal(opened)) return opened;
    const { reader, kind, result, source, size } = opened;
    await reader.close();
    return { kind, result, source, size };
  }

  /** As `open`, for HEAD: starts a download only where nothing else shows what upstream has. */
  async head(remote: RemoteRepository, digest: Digest): Promise<BlobFound | Refusal> {
    const { access, local, negative } = this.#options;
    const refusal = this.#options.verdicts.any ? await this.#refusal(remote, digest) : undefined;
    if (refusal !== undefined) return refusal;
    if (negative.has(remote, "blob", digest)) return { kind: "absent", negative: true };
    const proof = await access.prove(remote, digest, "blob").catch(onlyIfUnproved);
    if (proof === undefined) return await this.#headOfWhole(remote, digest);
    if (proof.kind === "absent") negative.add(remote, "blob", digest);
    if (isRefusal(proof)) return proof;
    const filling = remote.registry.cut === "drill" ? undefined : this.#fills.of(digest);
    if (filling?.fill.size !== undefined) {
      const head = await this.#headOf(filling, remote).catch(againAfterMismatch);
      if (head !== "again") return head;
    }
    const here = await local.open(digest, "probe");
    if (here !== undefined) {
      await here.reader.close();
      return { kind: "found", result: "hit", source: here.source, size: here.size };
    }
    const shared = await this.#sharedHead(digest);
    if (shared !== undefined && !(await this.#isDoubtful(remote, digest, shared.size))) return shared;
    const head = proof.kind === "found" ? proof : await remote.registry.headBlob(remote.repository, digest);
    if (head.kind === "absent") await access.unlink(remote, digest);
    if (head.kind !== "found") return head;
    const doubt = "doubt" in head ? head.doubt : undefined;
    if (doubt === undefined && !(await this.#isDoubtful(remote, digest, head.size)))
      return { ...fromUpstream(remote.upstream, head), result: "miss" };
    return await this.#headOfWhole(remote, digest);
  }

  /** As GET is answered (RFC 9110, section 9.3.2): the blob is fetched, and kept. */
  async #headOfWhole(remote: RemoteRepository, digest: Digest): Promise<BlobFound | Refusal> {
    const opened = await this.#open(remote, digest, "probe", undefined);
    if (opened.kind !== "found") return opened;
    await opened.reader.close();
    const { kind, result, source, size } = opened;
    return { kind, result, source, size };
  }

  /** The answer to HEAD for a blob on its way. */
  async #headOf({ fill, remote: from }: Filling, remote: RemoteRepository): Promise<BlobFound | Refusal> {
    const reader = fill.follow(remote);
    try {
      const head = await fill.head;
      if (head.kind !== "found") return head;
      const size = await this.#certainSize(fill, head.size, remote);
      return { ...fromUpstream(from.upstream, { size }), result: "joined" };
    } finally {
      await reader.close();
    }
  }

  /**
   * Whether an announced size contradicts a manifest, or the digest itself. Only the digest of all the bytes shows which
   * is right: nothing is announced to a client before that.
   */
  async #isDoubtful(scope: Scope, digest: Digest, size: number | undefined): Promise<boolean> {
    if (size === undefined) return false;
    if (!sizeFits(digest, size)) return true;
    const stated = await this.#options.access.statedSize(scope, digest);
    return stated !== undefined && stated !== size;
  }

  /** The size that may be announced to a client of the repository. A doubtful one waits until the digest is verified. */
  async #certainSize(fill: Fill, announced: number | undefined, scope: Scope): Promise<number | undefined> {
    if (!fill.verified && (await this.#isDoubtful(scope, fill.digest, announced))) await fill.verification;
    return fill.verified ? fill.received : announced;
  }

  /**
   * Whether the blob can be served without upstream. The index does not know all that the stores have, so they are asked
   * too.
   */
  async isHere(digest: Digest): Promise<boolean> {
    const { local } = this.#options;
    if (local.indexed(digest) || this.inUse(digest)) return true;
    const blob = await local.open(digest, "probe");
    await blob?.reader.close();
    return blob !== undefined || (await this.#sharedHead(digest)) !== undefined;
  }

  /** Undefined also when the shared store fails, of which it sends a notice itself. */
  async #sharedHead(digest: Digest): Promise<BlobFound | undefined> {
    const store = this.#options.sharing?.blobs?.store;
    const head = await store?.head(digest).catch(() => undefined);
    if (store === undefined || head === undefined) return undefined;
    return { kind: "found", result: "hit", source: store.source, size: head.size };
  }

  /** Finds the blob here or on its way, else calls `start`. "again" when what was found has gone meanwhile. */
  async #find<S>(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
    start: () => Promise<S>,
    admission?: FillAdmission,
  ): Promise<OpenedBlob | Refusal | S | "again"> {
    const { access, local } = this.#options;
    const linked = await access.linked(remote, digest);
    const here = this.#fills.joinable(digest) === undefined ? await local.open(digest, use) : undefined;
    if (here === undefined && this.#fills.joinable(digest) === undefined) {
      // A fill that ran from start to end while the store was being opened has left a row in the index.
      return local.indexed(digest) ? "again" : start();
    }
    const running = here === undefined ? this.#fills.joinable(digest) : undefined;
    // Upstream's answer to a fill for this very repository proves the right, and it is waited for anyway. Where a manifest
    // of this repository names the blob, the answer to a fill for another repository does too.
    const proving =
      running !== undefined &&
      this.#holds(running, remote, digest) &&
      (isSameScope(running.remote, remote) ||
        (running.remote.upstream === remote.upstream && (await access.named(remote, digest))));
    if (!linked && !proving) {
      const proof = await this.#prove(remote, digest, here);
      if (proof === undefined) return await this.#alone(remote, digest, start, admission);
      if (isRefusal(proof)) return proof;
    }
    if (here !== undefined) return { kind: "found", result: "hit", ...here };
    const filling = this.#fills.joinable(digest);
    if (filling === undefined) return "again";
    const opened = await this.#join(filling, remote, admission);
    // The fill was refused to another repository, or to another caller: this one may be allowed.
    return opened.kind === "found" || isSameAsker(filling.remote, remote) ? opened : "again";
  }

  /** Whether the repository has not lost the blob since the fill began: upstream's answer to it is from before that. */
  #holds({ since }: Filling, remote: RemoteRepository, digest: Digest): boolean {
    return !this.#options.access.hasEnded(remote, digest, since);
  }

  /** Undefined where only the bytes upstream has would prove the right. Without the right the opened blob is closed. */
  async #prove(
    remote: RemoteRepository,
    digest: Digest,
    here: LocalBlob | undefined,
  ): Promise<Proof | undefined> {
    let granted = false;
    try {
      const proof = await this.#options.access.prove(remote, digest, "blob").catch(onlyIfUnproved);
      granted = proof !== undefined && !isRefusal(proof);
      return proof;
    } finally {
      if (!granted) await here?.reader.close();
    }
  }

  // ---- what may be given out ----------------------------------------------------------------------------------

  async #refusal(remote: RemoteRepository, digest: Digest): Promise<Refusal | undefined> {
    const verdict = await this.#options.verdicts.blob(remote, digest);
    return verdict.kind === "allowed" ? undefined : refusalOf(verdict);
  }

  /** To be asked of all that is opened: it may have been blocked while it was. */
  #judged<Opened extends OpenedBlob | BlobElsewhere | Refusal>(
    remote: RemoteRepository,
    digest: Digest,
    opened: Opened,
  ): Opened | Promise<Opened | Refusal> {
    if (!this.#options.verdicts.any || isRefusal(opened)) return opened;
    return this.#refusal(remote, digest).then(
      async (refusal) => {
        if (refusal !== undefined && "reader" in opened) await opened.reader.close();
        return refusal ?? opened;
      },
      async (error: unknown) => {
        if ("reader" in opened) await opened.reader.close();
        throw error;
      },
    );
  }

  /** What is being sent, be it from the disk or while it comes: each once. */
  get beingSent(): ReadonlySet<Digest> {
    return new Set([...this.#options.local.beingReadNow, ...this.#fills.open.map(({ digest }) => digest)]);
  }

  /** Nobody gets any more of what is refused: who is being given it is cut off, and it is fetched no further. */
  cut(digest: Digest, blocked: Blocked): void {
    const reason = new BlockedError(blocked);
    this.#options.local.cut(digest, reason);
    for (const fill of this.#fills.open) if (fill.digest === digest) fill.abort(reason);
  }

  // ---- fills --------------------------------------------------------------------------------------------------

  async #start(
    remote: RemoteRepository,
    digest: Digest,
    use: BlobUse,
    admission: FillAdmission | undefined,
  ): Promise<OpenedBlob | Refusal> {
    const { access } = this.#options;
    const filling = this.#fills.start(remote, digest, use);
    admission?.started(filling.fill.done);
    const opened = await this.#follow(filling, "miss", remote);
    if (opened.kind === "found" && this.#holds(filling, remote, digest))
      await access.link(remote, [{ digest, size: undefined }]);
    // For a client in a drill at most the upstream of another follower was asked (FillSource).
    if (opened.kind === "absent" && remote.registry.cut === undefined) await access.unlink(remote, digest);
    return opened;
  }

  /** Relays a manifest too large to hold: verified like a blob, never stored. See Fills. */
  relayManifest(remote: RemoteRepository, digest: Digest, first?: OversizeAnswer): ManifestRelay {
    const fill = this.#fills.relayManifest(remote, digest, first);
    return {
      digest,
      joinable: () => fill.joinable,
      open: async () => {
        const found = (head: FoundHead) => ({
          ...fromUpstream(remote.upstream, head),
          result: "miss" as const,
        });
        const opened = await this.#opened(fill, found, remote);
        return opened.kind === "found" ? { ...opened, reader: endingWith(fill, opened.reader) } : opened;
      },
    };
  }

  /** Bytes from the shared store are a hit for every request; a blob that another node is fetching is joined there. */
  #follow(
    { fill, source, remote: from }: Filling,
    how: "miss" | "joined",
    remote: RemoteRepository,
  ): Promise<OpenedBlob | Refusal> {
    const found = (head: FoundHead): BlobFound => ({
      ...fromUpstream(from.upstream, head),
      result: source.result(how),
      source: source.source,
    });
    return this.#opened(fill, found, remote, remote);
  }

  /** Follows the fill before upstream has answered, so that a fill without a spool waits for this reader. */
  async #opened(
    fill: Fill,
    found: (head: FoundHead) => BlobFound,
    remote: RemoteRepository,
    asked?: Scope,
  ): Promise<OpenedBlob | Refusal> {
    const reader = fill.follow(remote);
    let opened = false;
    try {
      const head = await fill.head;
      if (head.kind !== "found") return head;
      const size = asked === undefined ? head.size : await this.#certainSize(fill, head.size, asked);
      opened = true;
      const whole = () => fill.verification.then(() => fill.received);
      const noteUnverified = (answer: UnverifiedAnswer): boolean => {
        if (!fill.verified) fill.answeredUnverified(answer);
        return !fill.verified;
      };
      return { ...found({ ...head, size }), reader, whole, noteUnverified };
    } finally {
      if (!opened) await reader.close();
    }
  }

  // ---- state --------------------------------------------------------------------------------------------------

  /** Running fills, for metrics and pages. */
  get fills(): readonly Fill[] {
    return this.#fills.running;
  }

  /** The running fills that clients can join, with their upstreams and repositories. */
  get fillings(): readonly Filling[] {
    return this.#fills.byDigest;
  }

  /** Whether a client is reading the stored blob, or it is being filled: eviction must not delete it. */
  inUse(digest: Digest): boolean {
    return this.#fills.of(digest) !== undefined || this.#options.local.beingRead(digest);
  }

  /** Bytes of the store that running fills take or will take, and of what earlier ones left. */
  get fillingBytes(): number {
    return this.#fills.bytes;
  }

  /** See Fills. */
  purge(digests: ReadonlySet<Digest>): Promise<void> {
    return this.#fills.purge(digests);
  }

  /** Ends every fill; resolves when their spools are gone. */
  stop(reason: Error): Promise<void> {
    return this.#fills.stop(reason);
  }
}

/** What upstream says to the one it says to the other. */
function isSameAsker(a: RemoteRepository, b: RemoteRepository): boolean {
  return isSameScope(a, b) && a.registry.caller?.identity === b.registry.caller?.identity;
}

/** Ends a relay when its last reader leaves, since no later request can use it: HEAD needs only the beginning. */
function endingWith(fill: Fill, reader: BlobReader): BlobReader {
  return {
    read: (position, scratch) => reader.read(position, scratch),
    lend: (position, max) => reader.lend?.(position, max),
    arrived: async (position) => await reader.arrived?.(position),
    close: async () => {
      await reader.close();
      if (fill.followers === 0 && !fill.verified)
        fill.abort(new Error("the manifest has no reader any more"));
    },
  };
}

/** Only the bytes upstream has would prove the right. */
function onlyIfUnproved(error: unknown): undefined {
  if (!(error instanceof Unproved)) throw error;
}

/** No answer has been sent yet, and the source of the wrong bytes is not asked again. */
function againAfterMismatch(error: unknown): "again" {
  if (error instanceof NearbyMismatch) return "again";
  throw error;
}

function fromUpstream(
  upstream: string,
  { size, cacheStatus }: Pick<BlobFound, "size"> & { readonly cacheStatus?: string | undefined },
): Omit<BlobFound, "result"> {
  const marks = cacheStatus === undefined ? {} : { cacheStatus };
  return { kind: "found", source: `upstream:${upstream}`, size, ...marks };
}
