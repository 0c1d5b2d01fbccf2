// What may be given out: the one place that says what is blocked, and what follows from it. A manifest that names a blocked config or
// layer is refused; an index is when none of its images may be had; and whatever only refused manifests name is refused with them.
// What names what is in the image graph. While nothing is blocked no question reaches it.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { type Descriptor, readManifest } from "../oci/manifest.ts";
import type { Blocked } from "../ports/block/blocked.ts";
import { allowed, type ManifestContent, type Verdict, type Verdicts } from "../ports/block/verdict.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { ImageGraph } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import type { BlockList } from "./block-list.ts";

/** Verdicts in memory, some 200 bytes each. */
const maxRemembered = 50_000;
/** Manifests that name one digest, and parts of one manifest, that are looked at. Of what more name some may be allowed: so it is. */
const maxParents = 1_000;
const maxParts = 4_000;
/** Manifests that are looked at for one verdict, and steps from a digest up to what names it. */
const maxLooked = 3_000;
const maxSteps = 8;
/** Milliseconds for which it is believed that another node has an allowed image with a part, and that none has. */
const believeShared = 60_000;
const believeUnshared = 5_000;

export interface BlockVerdictsOptions {
  readonly list: BlockList;
  readonly graph: Pick<ImageGraph, "parents" | "parts">;
  /** Whether another node knows an allowed image that has it; left out: there are no others, or they cannot be asked. */
  readonly sharedElsewhere?: ((digest: Digest) => Promise<boolean>) | undefined;
  readonly notices: NoticeSink;
  /** A steady one. */
  readonly clock: () => number;
}

interface Known {
  readonly verdict: Verdict;
  /** What the manifest names was read for it, and not only looked up. */
  readonly isRead: boolean;
}

/** A verdict that is being found out. */
interface Look {
  looked: number;
  readonly steps: number;
}

export class BlockVerdicts implements Verdicts {
  readonly #options: BlockVerdictsOptions;
  readonly #known = new LRUCache<Digest, Known>({ max: maxRemembered });
  readonly #elsewhere: LRUCache<Digest, boolean>;
  /** How often `changed` was called. */
  #changes = 0;
  /** Questions to other nodes: one about each digest at a time, between two changes. */
  readonly #asking = new SingleFlight<boolean>();

  constructor(options: BlockVerdictsOptions) {
    this.#options = options;
    this.#elsewhere = new LRUCache({ max: maxRemembered, ttlResolution: 0, perf: { now: options.clock } });
  }

  get any(): boolean {
    return !this.#options.list.isEmpty;
  }

  /** To be called when the list has changed, or what a manifest names has become known. */
  changed(): void {
    this.#changes++;
    this.#known.clear();
    this.#elsewhere.clear();
  }

  manifest(scope: Scope, digest: Digest, content?: ManifestContent): Verdict | Promise<Verdict> {
    if (!this.any) return allowed;
    return this.#given(scope, digest, "manifest", this.#here(digest, content));
  }

  blob(scope: Scope, digest: Digest): Verdict | Promise<Verdict> {
    if (!this.any) return allowed;
    return this.#given(scope, digest, "blob", this.#here(digest));
  }

  /** As far as this node knows, and without a word to anybody: what only refused images have that it knows is refused. */
  here(digest: Digest): Verdict {
    return this.any ? this.#here(digest) : allowed;
  }

  /** Whether this node has a manifest that names it and is allowed. */
  isShared(digest: Digest): boolean {
    if (!this.any || this.#options.list.reasonOf(digest) !== undefined) return false;
    const parents = this.#read(() => this.#options.graph.parents(digest, maxParents));
    return parents.some((parent) => this.#here(parent).kind === "allowed");
  }

  /** As far as all nodes know. */
  settled(digest: Digest): Verdict | Promise<Verdict> {
    return this.any ? this.#settled(digest, this.#here(digest)) : allowed;
  }

  #settled(digest: Digest, verdict: Verdict): Verdict | Promise<Verdict> {
    const { sharedElsewhere } = this.#options;
    if (verdict.kind === "allowed" || verdict.because !== "part" || sharedElsewhere === undefined)
      return verdict;
    const known = this.#elsewhere.get(digest);
    if (known !== undefined) return known ? allowed : verdict;
    const asOf = this.#changes;
    const asked = this.#asking.run(`${asOf} ${digest}`, () => sharedElsewhere(digest)).promise;
    return asked.then((isShared) => {
      // Another node may have said so before it knew of what was blocked meanwhile: that is not believed any longer.
      if (asOf === this.#changes)
        this.#elsewhere.set(digest, isShared, { ttl: isShared ? believeShared : believeUnshared });
      return isShared ? allowed : verdict;
    });
  }

  #given(
    { upstream }: Scope,
    digest: Digest,
    as: "manifest" | "blob",
    here: Verdict,
  ): Verdict | Promise<Verdict> {
    const told = (verdict: Verdict): Verdict => {
      if (verdict.kind !== "allowed") {
        const { because } = verdict;
        this.#options.notices({ kind: "block_refusal", upstream, as, digest, because });
      }
      return verdict;
    };
    const settled = this.#settled(digest, here);
    return settled instanceof Promise ? settled.then(told) : told(settled);
  }

  #here(digest: Digest, content?: ManifestContent): Verdict {
    const known = this.#known.get(digest);
    if (known !== undefined && (content === undefined || known.isRead || known.verdict.kind !== "allowed"))
      return known.verdict;
    const found = this.#read(() => {
      const look: Look = { looked: 0, steps: 0 };
      return this.#upwards(digest, look, content) ?? this.#downwards(digest, look);
    });
    const verdict = found ?? allowed;
    this.#known.set(digest, { verdict, isRead: content !== undefined });
    return verdict;
  }

  #read<Found>(find: () => Found): Found {
    try {
      return find();
    } catch (error) {
      this.#options.notices(noticeOfStoreError("block.graph", error));
      throw error;
    }
  }

  /** By itself, and by what it names. */
  #upwards(digest: Digest, look: Look, content?: ManifestContent): Blocked | undefined {
    const own = this.#itself(digest);
    if (own !== undefined) return own;
    if (++look.looked > maxLooked) return undefined;
    const children = childrenIn(content) ?? this.#options.graph.parts(digest, maxParts);
    let refusedImages = 0;
    let images = 0;
    let first: Blocked | undefined;
    for (const { digest: child, role, platform } of children) {
      if (role !== "manifest") {
        const named = this.#itself(child);
        if (named !== undefined) return { ...named, because: "names" };
      } else if (!isAttestation(platform)) {
        images++;
        const refused = this.#upwards(child, look);
        if (refused !== undefined) refusedImages++;
        first ??= refused;
      }
    }
    return first !== undefined && refusedImages === images ? { ...first, because: "names" } : undefined;
  }

  /** By those that name it: refused when all of them are. */
  #downwards(digest: Digest, look: Look): Blocked | undefined {
    const { graph, list } = this.#options;
    const parents = new Set(graph.parents(digest, maxParents));
    if (parents.size >= maxParents) return undefined;
    let first: Blocked | undefined;
    for (const parent of parents) {
      if (look.steps >= maxSteps || ++look.looked > maxLooked) return undefined;
      const below = { looked: look.looked, steps: look.steps + 1 };
      const refused = this.#upwards(parent, below) ?? this.#downwards(parent, below);
      look.looked = below.looked;
      if (refused === undefined) return undefined;
      first ??= refused;
    }
    if (first !== undefined) return { ...first, because: "part" };
    for (const block of list.blocksWith(digest)) {
      const own = this.#itself(block);
      if (own !== undefined) return { ...own, because: "part" };
    }
    return undefined;
  }

  #itself(digest: Digest): Blocked | undefined {
    const reason = this.#options.list.reasonOf(digest);
    return reason === undefined ? undefined : { kind: "blocked", digest, reason, because: "itself" };
  }
}

/** Undefined for what cannot be read. */
function childrenIn(
  content: ManifestContent | undefined,
): readonly Pick<Descriptor, "digest" | "role" | "platform">[] | undefined {
  if (content === undefined) return undefined;
  const manifest = readManifest(content.body, content.mediaType);
  return typeof manifest === "string" ? undefined : [...manifest.children, ...manifest.foreign];
}

/** BuildKit puts what it says of images beside them, as an image of this platform. */
function isAttestation(platform: string | undefined): boolean {
  return platform === "unknown/unknown";
}
