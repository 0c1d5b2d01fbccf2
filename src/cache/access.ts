// Which repository gives which digest: knowing a digest grants nothing (docs/design.md, rule 3; CVE-2024-39897 class).
// A blob or manifest is readable through a repository only if the repository is linked to it, or upstream says so for that
// repository, which then links it. A manifest that names a blob links it too; `Proofs` (ports/records.ts) says whether that
// is enough for bytes that may have come from another upstream.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { LinkedBlob, LinkRemoval, LinkStore } from "../ports/records.ts";
import { keyIn, type Scope } from "../ports/scope.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import { headByDigest, type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import { type CacheMarks, isRefusal, type Refusal } from "../ports/upstream-answer.ts";
import { boundedByKeys } from "./memory-size.ts";

export type Proof =
  | { readonly kind: "linked" }
  | ({ readonly kind: "found"; readonly size: number | undefined } & Pick<CacheMarks, "cacheStatus">)
  | Refusal;

const linked: Proof = { kind: "linked" };

/** Upstream's answer may be about something else, by its labels. Only the bytes would show. */
export class Unproved extends UpstreamError {
  constructor(upstream: string, doubt: string) {
    super("protocol", `upstream ${upstream} ${doubt}`);
  }
}

export class Access {
  readonly #links: LinkStore;
  readonly #notices: NoticeSink;
  readonly #sizeHere: (digest: Digest) => number | undefined;
  readonly #proofs = new SingleFlight<Proof>();
  /** How many links have ended, and after how many each of those that ended lately did. */
  #ends = 0;
  readonly #endedAt = new LRUCache<string, number>(boundedByKeys);

  /** `sizeHere`: of the verified blob in the store, when there is one. */
  constructor(links: LinkStore, notices: NoticeSink, sizeHere: (digest: Digest) => number | undefined) {
    this.#links = links;
    this.#notices = notices;
    this.#sizeHere = sizeHere;
  }

  /** From local knowledge only, at once what is in memory. A link store that fails grants nothing: upstream is asked. */
  linked(scope: Scope, digest: Digest): boolean | Promise<boolean> {
    const has = this.#links.has(scope, digest);
    if (!(has instanceof Promise)) return has;
    return has.catch((error: unknown) => {
      this.#notices(noticeOfStoreError("links.has", error));
      return false;
    });
  }

  /** Whether a manifest of the repository names the digest, which alone grants nothing. */
  async named(scope: Scope, digest: Digest): Promise<boolean> {
    try {
      return await this.#links.named(scope, digest);
    } catch (error) {
      this.#notices(noticeOfStoreError("links.named", error));
      return false;
    }
  }

  /**
   * Whether the repository may read the digest: by a link, else by a HEAD request to upstream, one for all that ask at the
   * same time. `isLinked`: what `linked` has just said. Rejects with UpstreamError when upstream cannot say; of a blob with
   * Unproved when its answer raises a doubt that fetching the blob would settle.
   */
  async prove(
    remote: RemoteRepository,
    digest: Digest,
    as: "blob" | "manifest",
    isLinked = this.linked(remote, digest),
  ): Promise<Proof> {
    if (await isLinked) return linked;
    const key = keyIn(remote, `${as} ${digest}`);
    const ask = () => this.#ask(remote, digest, as);
    // It fails for this caller, and must not for those who would share the question.
    if (remote.registry.cut === "drill") return await ask();
    const { promise, joined } = this.#proofs.run(key, ask);
    const { caller } = remote.registry;
    if (!joined || caller === undefined) return promise;
    const proof = await promise;
    // The refusal may be one to whom it was asked for.
    return isRefusal(proof) ? this.#proofs.run(`${key} ${caller.identity}`, ask).promise : proof;
  }

  async #ask(remote: RemoteRepository, digest: Digest, as: "blob" | "manifest"): Promise<Proof> {
    const asked = this.ends;
    const head = await headByDigest(remote, digest, as);
    if (head.kind !== "found") return head;
    const doubt = "doubt" in head ? head.doubt : undefined;
    // No page of a gateway has the very size of the blob that is here.
    if (doubt !== undefined && (head.size === undefined || head.size !== this.#sizeHere(digest)))
      throw new Unproved(remote.upstream, doubt);
    if (!this.hasEnded(remote, digest, asked)) await this.link(remote, [{ digest, size: undefined }]);
    const { kind, size, cacheStatus } = head;
    return { kind, size, ...(cacheStatus === undefined ? {} : { cacheStatus }) };
  }

  /** The blob's size according to a manifest; undefined when none states it, or the store fails. See LinkStore. */
  async statedSize(scope: Scope, digest: Digest): Promise<number | undefined> {
    try {
      return await this.#links.statedSize(scope, digest);
    } catch (error) {
      this.#notices(noticeOfStoreError("links.size", error));
      return undefined;
    }
  }

  /**
   * Records that upstream showed these digests in the repository, or that a manifest of it names them. When the store fails,
   * upstream is asked again later.
   */
  async link(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void> {
    try {
      await this.#links.add(scope, blobs);
    } catch (error) {
      this.#notices(noticeOfStoreError("links.add", error));
    }
  }

  /** A count that grows with every link that ends. */
  get ends(): number {
    return this.#ends;
  }

  /**
   * Whether the repository has lost the digest since the count was `since`: what upstream said to a question asked then proves
   * nothing any more.
   */
  hasEnded(scope: Scope, digest: Digest, since: number): boolean {
    return (this.#endedAt.get(keyIn(scope, digest)) ?? 0) > since;
  }

  /** The repository has lost the digest, here or at another node. */
  ended(scope: Scope, digest: Digest): void {
    this.#endedAt.set(keyIn(scope, digest), ++this.#ends);
  }

  /** Upstream said that the digest is not, or no longer, in the repository (CVE-2026-35172 class). */
  async unlink(scope: Scope, digest: Digest): Promise<void> {
    this.ended(scope, digest);
    try {
      await this.#links.remove(scope, digest);
    } catch (error) {
      this.#notices(noticeOfStoreError("links.remove", error));
    }
  }

  /**
   * The repository has lost the digests, and other nodes are told of it otherwise (LinkStore.removeAll). False when that could not be
   * written everywhere.
   */
  async unlinkAll(scope: Scope, digests: readonly Digest[], removal?: LinkRemoval): Promise<boolean> {
    if (removal?.only !== "shared") for (const digest of digests) this.ended(scope, digest);
    try {
      return await this.#links.removeAll(scope, digests, removal);
    } catch (error) {
      this.#notices(noticeOfStoreError("links.remove", error));
      return false;
    }
  }
}
