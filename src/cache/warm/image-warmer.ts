// A whole image before a client asks for it: the manifest, the images of an index, configs, layers, and what refers to them
// (referrers, cosign's tags). It is asked for as a client does, through the same single flights and with the same rules, by
// nobody on whose behalf: so layers come after what clients wait for. Manifests and lists are questions like those of clients, and
// few of them are under way at once. What is here is not fetched again, so whoever wants to go on after a restart asks again.
import type { Digest } from "../../oci/digest.ts";
import { readManifest } from "../../oci/manifest.ts";
import { mediaTypes } from "../../oci/media-type.ts";
import { parseTag, type Repository } from "../../oci/name.ts";
import { indexEntries, otherPlatforms, type Platform } from "../../oci/platform.ts";
import { type Reference, referenceText } from "../../oci/reference.ts";
import type { Pause } from "../../ports/clock.ts";
import { orAborted } from "../../ports/deadline.ts";
import type { Scope } from "../../ports/scope.ts";
import { eachAtOnce, Turns } from "../../ports/turns.ts";
import {
  type OnBehalfOf,
  type RemoteRepository,
  remoteRepository,
  type Upstream,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../ports/upstream.ts";
import type { Refusal } from "../../ports/upstream-answer.ts";
import type { BlobCache } from "../blob-cache.ts";
import type { Listings } from "../listings.ts";
import type { LocalBlobs } from "../local-blobs.ts";
import type { Manifests, OpenedManifest } from "../manifests.ts";
import type { WarmPart, WarmProgress } from "./warm-progress.ts";

/**
 * Times one thing is asked for while upstream fails, and the milliseconds before the second time; twice as many before each
 * later one.
 */
export const maxAttempts = 8;
const firstPause = 1_000;
/** The most milliseconds between two of them, also when upstream asks for more. */
const longestPause = 60_000;
/** Blobs of one image asked for at once; of manifests, the children of each index. */
const atOnce = 4;
/** Questions for manifests and lists under way at once, over all images: they wait for connections like those of clients. */
const questionsAtOnce = 4;
/** Manifests of one image, and indexes in indexes. */
const maxManifests = 1_000;
const maxDepth = 4;

/** Outages: the same question may be answered later. */
const outages: ReadonlySet<UpstreamErrorCode> = new Set([
  "unreachable",
  "timeout",
  "rate_limited",
  "server_error",
  "circuit_open",
  "truncated",
  "local",
]);

/** An upstream to ask, as the router gives it. */
export interface WarmTarget {
  readonly upstream: Upstream;
  readonly repository: Repository | undefined;
  readonly allowed: boolean;
  readonly tagFilter?: ((tag: string) => boolean) | undefined;
  readonly onAbsent: boolean;
  readonly onDenied: boolean;
  readonly onFailure: boolean;
}

export interface WarmRequest {
  /** In the order in which they are asked; at least one. */
  readonly targets: readonly WarmTarget[];
  readonly reference: Reference;
  /** Of an index only these, and their attestations; none: all. */
  readonly platforms: readonly Platform[];
  /** Only the manifest itself, which is asked for once. */
  readonly manifestOnly?: boolean | undefined;
  /** All manifests, and no blobs. */
  readonly withoutBlobs?: boolean | undefined;
  /**
   * Names of upstreams whose outage outlasted all attempts for something: each question to them is asked once until something
   * comes. The images of a job have it in common; left out: this image's own.
   */
  readonly away?: Set<string> | undefined;
  /** Who pays for the layers; see OnBehalfOf. */
  readonly onBehalfOf?: OnBehalfOf | undefined;
}

export interface ImageWarmerOptions {
  readonly manifests: Pick<Manifests, "open">;
  readonly blobs: Pick<BlobCache, "open" | "fillings">;
  readonly listings: Pick<Listings, "referrers">;
  readonly local: Pick<LocalBlobs, "indexed">;
  /** Whether the digest is known by tags alone that are not allowed (DeniedDigests). */
  readonly denies: (scope: Scope, digest: Digest, allowed: (tag: string) => boolean) => boolean;
  readonly pause: Pause;
}

/** One image under way. */
interface Walk extends WarmRequest {
  readonly away: Set<string>;
  readonly target: WarmTarget;
  readonly remote: RemoteRepository;
  readonly progress: WarmProgress;
  readonly signal: AbortSignal;
  /** Blobs found so far, which come when all manifests are here. */
  readonly blobs: { readonly digest: Digest; readonly part: WarmPart }[];
  manifests: number;
}

/** What is not fetched, and why. */
class NotWarmed extends Error {}

export class ImageWarmer {
  readonly #options: ImageWarmerOptions;
  readonly #questions = new Turns(questionsAtOnce);

  constructor(options: ImageWarmerOptions) {
    this.#options = options;
  }

  /** What fails is in `progress`, and ends nothing else. Rejects with the signal's reason. */
  async warm(asked: WarmRequest, progress: WarmProgress, signal: AbortSignal): Promise<void> {
    const request = { ...asked, away: asked.away ?? new Set<string>() };
    const name = referenceText(request.reference);
    try {
      const found = await this.#resolve(request, progress, signal);
      const { target, opened } = found;
      const remote = remoteRepository(target.upstream, target.repository as Repository);
      const walk: Walk = { ...request, target, remote, progress, signal, blobs: [], manifests: 0 };
      const part = progress.add("manifest", opened.digest, opened.body.length);
      progress.digest = opened.digest;
      if (part === undefined) return;
      this.#arrived(walk, part, opened);
      if (request.manifestOnly !== true) {
        await this.#children(walk, opened, 0, "image");
        await eachAtOnce(walk.blobs, atOnce, (blob) => this.#blob(walk, blob.digest, blob.part));
      }
      if (opened.reason !== undefined && !isNotAsked(opened))
        progress.fail(name, `not confirmed, what is here is older: ${opened.reason.message}`);
    } catch (error) {
      signal.throwIfAborted();
      progress.fail(name, reasonOf(error));
    }
  }

  /** Looks again whether everything is here. */
  recheck(progress: WarmProgress): void {
    for (const { name, state, elsewhere } of progress.parts)
      if (state === "here" && !elsewhere && !this.#options.local.indexed(name as Digest))
        progress.fail(
          name,
          "it came, and had to go again: the cache has no room for all of it (cache.maxSize)",
        );
  }

  // ---- the manifest -------------------------------------------------------------------------------------------

  /** Asks one target after the other, as for a client. Rejects with the last refusal or failure. */
  async #resolve(
    { targets, reference, manifestOnly, away }: WarmRequest & Pick<Walk, "away">,
    progress: WarmProgress,
    signal: AbortSignal,
  ): Promise<{ readonly target: WarmTarget; readonly opened: OpenedManifest }> {
    let before: Error | undefined;
    for (const [at, target] of targets.entries()) {
      const { upstream, repository, allowed, onAbsent, onDenied, onFailure } = target;
      const last = at === targets.length - 1;
      const notAllowed = !allowed || repository === undefined;
      if (at > 0 && notAllowed) {
        if (last || !onAbsent) break;
        continue;
      }
      try {
        if (repository !== undefined) progress.origin = { upstream: upstream.name, repository };
        if (notAllowed) throw new Refused(`upstream ${upstream.name}: not allowed by its allow and deny`);
        const remote = remoteRepository(upstream, repository);
        // The next upstream is there for outages, as is the next client for a manifest alone.
        const attempts = manifestOnly === true || (!last && onFailure) ? 1 : maxAttempts;
        const from = { progress, signal, away, remote };
        const opened = await this.#asked(from, attempts, async (isLast) => {
          const answer = await this.#open(remote, reference, signal, 0);
          if (answer.reason !== undefined && !isNotAsked(answer) && !isLast) throw answer.reason;
          return answer;
        });
        // After all attempts it is still what was here before.
        if (opened.reason !== undefined && attempts > 1) away.add(upstream.name);
        return { target, opened };
      } catch (error) {
        signal.throwIfAborted();
        const passesOn =
          error instanceof Refused ? (error.isDenial ? onDenied : onAbsent) : onFailure && isFailure(error);
        before = error as Error;
        if (last || !passesOn) throw error;
      }
    }
    throw before ?? new NotWarmed("no upstream may be asked for it");
  }

  async #open(
    remote: RemoteRepository,
    reference: Reference,
    signal: AbortSignal,
    confirmAfter?: number,
  ): Promise<OpenedManifest> {
    const opened = await this.#question(signal, () =>
      this.#options.manifests.open(remote, reference, confirmAfter),
    );
    if (opened.kind !== "found") throw refusedBy(remote, opened);
    if (!("reader" in opened)) return opened;
    await opened.reader.close();
    throw new NotWarmed("a manifest above 4 MiB is passed on to clients and never kept");
  }

  /** A question that takes a turn; nobody asks it any more when `signal` has aborted meanwhile. */
  #question<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
    return this.#questions.run(async () => {
      signal.throwIfAborted();
      return await ask();
    });
  }

  #arrived(
    { progress, remote, away }: Pick<Walk, "progress" | "remote" | "away">,
    part: WarmPart,
    { result, digest, body }: OpenedManifest,
  ): void {
    part.size = body.length;
    part.fetched = result === "miss" || result === "joined";
    if (part.fetched || result === "revalidated") away.delete(remote.upstream);
    part.state = "here";
    if (!this.#options.local.indexed(digest)) progress.fail(part.name, notStored);
  }

  /** What a manifest names, in the order of the manifest; then what refers to it. */
  async #children(
    walk: Walk,
    manifest: OpenedManifest,
    depth: number,
    of: "image" | "referrer",
  ): Promise<void> {
    const read = readManifest(manifest.body, manifest.mediaType);
    if (typeof read === "string")
      throw new NotWarmed(`its manifest ${manifest.digest} cannot be read: ${read}`);
    const entries = indexEntries(manifest.body);
    const others = otherPlatforms(manifest.body, of === "image" ? walk.platforms : []);
    const children = read.children.filter(({ digest }) => !others.has(digest));
    if (entries.size > 0 && of === "image" && children.length === 0)
      throw new NotWarmed("its index has no image for these platforms");
    const inner: Digest[] = [];
    for (const { digest, size, role } of children) {
      if (role === "manifest") inner.push(digest);
      else if (walk.withoutBlobs !== true) {
        const part = walk.progress.add("blob", digest, size);
        if (part !== undefined) walk.blobs.push({ digest, part });
      }
    }
    await eachAtOnce(inner, atOnce, (digest) => {
      const isAttestation = entries.get(digest)?.attests !== undefined;
      return this.#manifest(walk, digest, depth + 1, isAttestation ? "referrer" : of);
    });
    if (of === "image") await this.#referring(walk, manifest.digest, depth);
  }

  async #manifest(walk: Walk, digest: Digest, depth: number, of: "image" | "referrer"): Promise<void> {
    const { progress, target, remote } = walk;
    const part = progress.add("manifest", digest, undefined);
    if (part === undefined) return;
    await this.#noted(walk, digest, async () => {
      if (depth > maxDepth || walk.manifests >= maxManifests)
        throw new NotWarmed(`an image with more than ${maxManifests} manifests, or indexes ${maxDepth} deep`);
      walk.manifests++;
      const { tagFilter } = target;
      if (tagFilter !== undefined && this.#options.denies(remote, digest, tagFilter))
        throw new NotWarmed(`upstream ${remote.upstream}: not allowed by its allow and deny`);
      part.state = "fetching";
      const opened = await this.#asked(walk, maxAttempts, () =>
        this.#open(remote, { kind: "digest", digest }, walk.signal),
      );
      this.#arrived(walk, part, opened);
      await this.#children(walk, opened, depth, of);
    });
  }

  // ---- signatures and referrers -------------------------------------------------------------------------------

  /** What has the digest as its subject, and what stands under the tags that are made of it. */
  async #referring(walk: Walk, digest: Digest, depth: number): Promise<void> {
    const { signal, remote } = walk;
    const name = digest.replace(":", "-");
    let listed = false;
    await this.#noted(walk, `referrers of ${digest}`, async () => {
      const answer = await this.#asked(walk, maxAttempts, () =>
        this.#question(signal, () => this.#options.listings.referrers(remote, digest, undefined)),
      );
      if (answer.kind !== "found") return;
      listed = true;
      const index = readManifest(answer.answer.body, mediaTypes.ociIndex);
      if (typeof index === "string") throw new NotWarmed(`the list cannot be read: ${index}`);
      await eachAtOnce(index.children, atOnce, (each) =>
        this.#manifest(walk, each.digest, depth + 1, "referrer"),
      );
    });
    // cosign (sigstore/cosign, "Signature Storage"), and the referrers tag schema where there is no API (distribution-spec).
    const tags = [`${name}.sig`, `${name}.att`, `${name}.sbom`, ...(listed ? [] : [name])];
    await eachAtOnce(tags, atOnce, (tag) => this.#tagged(walk, tag, depth));
  }

  /** A tag that need not be there. That it is not is remembered for when upstream is away. */
  async #tagged(walk: Walk, text: string, depth: number): Promise<void> {
    const { progress, signal, target, remote } = walk;
    const tag = parseTag(text);
    if (tag === undefined || target.tagFilter?.(tag) === false) return;
    await this.#noted(walk, tag, async () => {
      const opened = await this.#asked(walk, maxAttempts, () =>
        this.#open(remote, { kind: "tag", tag }, signal, 0),
      ).catch((error: unknown) => {
        // Some registries refuse what is not there.
        if (error instanceof Refused) return undefined;
        throw error;
      });
      if (opened === undefined) return;
      const part = progress.add("manifest", opened.digest, opened.body.length);
      if (part === undefined) return;
      this.#arrived(walk, part, opened);
      await this.#children(walk, opened, depth + 1, "referrer");
    });
  }

  // ---- blobs --------------------------------------------------------------------------------------------------

  async #blob(walk: Walk, digest: Digest, part: WarmPart): Promise<void> {
    const { remote, onBehalfOf, signal, away } = walk;
    const { blobs, local } = this.#options;
    await this.#noted(walk, digest, async () => {
      part.state = "fetching";
      const stored = await this.#asked(walk, maxAttempts, async () => {
        const isHere = local.indexed(digest);
        const opened = await blobs.open({ ...remote, onBehalfOf }, digest, isHere ? "probe" : "whole");
        part.size ??= opened.kind === "found" || opened.kind === "elsewhere" ? opened.size : undefined;
        part.elsewhere = opened.kind === "elsewhere";
        if (opened.kind === "elsewhere") return true;
        if (opened.kind !== "found") throw refusedBy(remote, opened);
        part.fetched ||= opened.whole !== undefined;
        const filling = blobs.fillings.find(({ fill }) => fill.digest === digest);
        try {
          // Followed to its end, and not read.
          const size = opened.size ?? Number.MAX_SAFE_INTEGER;
          await orAborted(opened.reader.arrived?.(size) ?? Promise.resolve(), signal);
        } finally {
          await opened.reader.close();
        }
        await filling?.fill.done;
        return local.indexed(digest);
      });
      if (part.fetched) away.delete(remote.upstream);
      if (!stored) throw new NotWarmed(notStored);
      part.state = "here";
    });
  }

  // ---- failures -----------------------------------------------------------------------------------------------

  /** Writes down why something failed, and goes on. Rejects with the signal's reason. */
  async #noted(
    { progress, signal }: Pick<Walk, "progress" | "signal">,
    part: string,
    work: () => Promise<void>,
  ): Promise<void> {
    try {
      signal.throwIfAborted();
      await work();
    } catch (error) {
      signal.throwIfAborted();
      progress.fail(part, reasonOf(error));
    }
  }

  /** Asks again after an outage. `isLast`: it is not asked again. */
  async #asked<T>(
    { progress, signal, away, remote: { upstream } }: Pick<Walk, "progress" | "signal" | "away" | "remote">,
    attempts: number,
    ask: (isLast: boolean) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt >= attempts || away.has(upstream);
      try {
        return await ask(isLast);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof UpstreamError) || !outages.has(error.code)) throw error;
        if (isLast) {
          if (attempts > 1) away.add(upstream);
          throw error;
        }
        progress.retries++;
        const wait = Math.max(firstPause * 2 ** (attempt - 1), (error.retryAfter ?? 0) * 1000);
        await this.#options.pause(Math.min(wait, longestPause), signal);
      }
    }
  }
}

/** What is here of an upstream that is asked for nothing is all there is to have. */
function isNotAsked({ reason }: OpenedManifest): boolean {
  return reason?.code === "offline";
}

const notStored =
  "it came, and could not be stored: the cache has no room for it (cache.maxSize), or the store fails";

/** Upstream's no. */
class Refused extends NotWarmed {
  readonly isDenial: boolean;

  constructor(message: string, isDenial = false) {
    super(message);
    this.isDenial = isDenial;
  }
}

function refusedBy({ upstream }: Scope, refusal: Refusal): Refused {
  const { kind, words } = refusal;
  const said = words === undefined ? "" : `: ${words.message}`;
  if (kind === "absent") return new Refused(`upstream ${upstream} does not have it${said}`);
  const { status = 403 } = refusal as Extract<Refusal, { kind: "denied" }>;
  return new Refused(`upstream ${upstream} refuses it (${status})${said}`, status === 403);
}

function isFailure(error: unknown): boolean {
  return error instanceof UpstreamError;
}

function reasonOf(error: unknown): string {
  if (error instanceof UpstreamError) return `${error.message} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}
