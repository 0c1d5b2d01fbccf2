// Whether the images that clients pulled lately could be pulled now if their registries were gone: every part is in the
// store at its size, the repository is known to have it, and the tag may still be served. The files are looked for, so that
// one that somebody has deleted is told. On several nodes that is asked of the datacenter: what was pulled through any node
// counts, and what another node has on its disk is here. Upstream is never asked, and nothing counts as a use.
import { setImmediate as turn } from "node:timers/promises";
import type { Digest } from "../../oci/digest.ts";
import type { BlobInfo } from "../../ports/blobs.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import type {
  PageEnd,
  ReportedImage,
  ReportedPage,
  ReportedPart,
} from "../../ports/datacenter/reported-images.ts";
import { type Elsewhere, OtherDisks } from "./elsewhere.ts";
import { perPage, ReportedImages, type ReportedImagesOptions } from "./reported-images.ts";
import type { Obstacle, Readiness, UnreadyImage } from "./stats-document.ts";

export interface ReadinessOptions extends ReportedImagesOptions {
  /** Whether the upstream of that name alone says who may read from it, so that nothing of it can be had without it. */
  readonly passesThrough: (upstream: string) => boolean;
  readonly store: { info(digest: Digest): Promise<BlobInfo | undefined> };
  /** Begins the questions of one answer about what is not on the disk. */
  readonly elsewhere: () => Elsewhere;
  /** The other nodes. */
  readonly neighbours: () => Neighbours | undefined;
  /** Whether an answer made now does not know of all there is, and so is none for metrics. */
  readonly partial: () => boolean;
}

/** Whose pulls an answer is about: of this node alone, or of all that can be asked. What is there is looked for on all of them. */
export type PulledThrough = "node" | "datacenter";

/** Manifests looked at through one node; images, and parts of them, that are gathered of all nodes. */
const maxManifests = 20_000;
const maxImages = 20_000;
const maxParts = 500_000;
const maxUnready = 500;
const maxObstacles = 20;
const maxNames = 10;
/**
 * Digests of which it is remembered where they are while one answer is made, besides those of the images that are looked at: layers
 * that many images share are looked for once.
 */
const maxKnown = 200_000;
const day = 86_400_000;

/** Days that metrics are about. */
export const usualDays = 7;
export const daysExpected = "days: expected a whole number from 1 to 365, such as ?days=7";
/** Answers about other days that may wait for the one that is being made. */
const maxWaiting = 3;

/** Undefined for what is no number of days. */
export function daysOf(text: string | null): number | undefined {
  const days = /^\d{1,3}$/.test(text ?? "") ? Number(text) : 0;
  return days >= 1 && days <= 365 ? days : undefined;
}

/** Answers are made one at a time; whoever asks the same meanwhile shares one. */
export class ReadinessCheck {
  readonly #options: ReadinessOptions;
  /** By what was asked: the one that is being made, and those that wait for it. */
  readonly #asked = new Map<string, Promise<Readiness>>();
  #before: Promise<unknown> = Promise.resolve();
  #last: Readiness | undefined;
  /** What is told to other nodes. */
  readonly reported: ReportedImages;

  constructor(options: ReadinessOptions) {
    this.#options = options;
    this.reported = new ReportedImages(options);
  }

  /**
   * Of images pulled in the last `days` days; undefined when too many answers wait already. Rejects with StoreError when index
   * or store cannot be read.
   */
  async run(days: number, through: PulledThrough = "datacenter"): Promise<Readiness | undefined> {
    const key = `${through} ${days}`;
    const asked = this.#asked.get(key);
    if (asked !== undefined) return await asked;
    if (this.#asked.size > maxWaiting) return undefined;
    const made = this.#before.then(() => this.#make(key, days, through));
    this.#asked.set(key, made);
    this.#before = made.catch(() => {});
    return await made;
  }

  async #make(key: string, days: number, through: PulledThrough): Promise<Readiness> {
    try {
      const partial = this.#options.partial();
      const neighbours = this.#options.neighbours();
      const made = await new Run(this.#options, this.reported, neighbours).run(days, through);
      const isOwn = through === "node" || (neighbours?.list() ?? []).length === 0;
      if (days === usualDays && isOwn) this.#last = partial || !isWhole(made) ? undefined : made;
      return made;
    } finally {
      this.#asked.delete(key);
    }
  }

  /**
   * The last answer about the usual number of days and this node alone; undefined until there is one, and when it does not know
   * all: it was partial or truncated (the images in use are looked at last), or something may be at a node that was silent.
   */
  get last(): Readiness | undefined {
    return this.#last;
  }
}

function isWhole({ truncated, unready, silentNodes }: Readiness): boolean {
  return !truncated && (silentNodes.length === 0 || unready.length === 0);
}

type Absence = Extract<Obstacle["kind"], "missing" | "damaged" | "unknown">;

/** What this node is called among those that have something. */
const self = "self";

/** How an image may be had by one of its names. */
interface GatheredName {
  readonly expired: boolean;
  /** The nodes (see NodeBits) that reported the part under this name, and do not know that its repository has it. */
  readonly unproved: Map<Digest, NodeBits>;
  readonly nodes: readonly string[];
}

/** Nodes of one answer, a bit each: the own one first, then the others (64 at most). */
type NodeBits = bigint;

/** `by`: the nodes that reported it as a part of this image. */
type GatheredPart = ReportedPart & { by: NodeBits };

/** An image as all nodes know it that it was pulled through. */
interface Gathered {
  readonly digest: Digest;
  usedAt: number;
  /** By their text. */
  readonly names: Map<string, GatheredName>;
  readonly parts: Map<Digest, GatheredPart>;
  readonly children: Map<Digest, ReportedPart>;
  needsChild: boolean;
  /** It, or an image of its index, was pulled through this node. */
  isOwn: boolean;
}

class Run {
  readonly #options: ReadinessOptions;
  readonly #reported: ReportedImages;
  readonly #disks: OtherDisks;
  readonly #known = new Map<Digest, Absence | "here">();
  readonly #bits = new Map<string, NodeBits>();
  readonly #elsewhere: Elsewhere;
  readonly #images = new Map<Digest, Gathered>();
  #parts = 0;
  #truncated = false;

  constructor(options: ReadinessOptions, reported: ReportedImages, neighbours: Neighbours | undefined) {
    this.#options = options;
    this.#reported = reported;
    this.#disks = new OtherDisks(neighbours);
    this.#elsewhere = options.elsewhere();
  }

  async run(days: number, through: PulledThrough): Promise<Readiness> {
    const at = this.#options.clock();
    const since = at - days * day;
    await this.#gather(self, (after) => this.#reported.page(since, after));
    const others = this.#disks.nodes;
    await Promise.all(
      others.map((node) =>
        this.#gather(`node ${node.name}`, (after) =>
          this.#disks.ask(node, (nodes, address) => nodes.reported(address, since, after)),
        ),
      ),
    );
    this.#joinChildren();
    const unready: UnreadyImage[] = [];
    let ready = 0;
    const images = [...this.#images.values()]
      .filter(({ isOwn }) => isOwn || through === "datacenter")
      .sort((a, b) => a.usedAt - b.usedAt);
    for (let from = 0; from < images.length; from += perPage) {
      const some = images.slice(from, from + perPage);
      await this.#look(some);
      for (const image of some) {
        const found = await this.#unready(image);
        if (found === undefined) ready++;
        else if (unready.length < maxUnready) unready.push(found);
      }
      await turn();
    }
    const silentNodes = this.#disks.silent;
    const truncated = this.#truncated;
    const nodes = others.length + 1 - others.filter(({ name }) => silentNodes.includes(name)).length;
    return { schema: 1, at, days, nodes, pulled: images.length, ready, truncated, silentNodes, unready };
  }

  // ---- what was pulled ----------------------------------------------------------------------------------------

  /** All pages of one node; those that it gave before it fell silent. */
  async #gather(
    node: string,
    ask: (after: PageEnd | undefined) => Promise<ReportedPage | undefined>,
  ): Promise<void> {
    let after: PageEnd | undefined;
    for (let looked = 0; looked < maxManifests; looked += perPage) {
      const page = await ask(after);
      if (page === undefined) return;
      for (const image of page.images) this.#add(node, image);
      if (page.next === null) return;
      after = page.next;
      await turn();
    }
    this.#truncated = true;
  }

  #add(node: string, { digest, usedAt, names, parts, children, needsChild }: ReportedImage): void {
    const known = this.#images.get(digest);
    if (known === undefined && (this.#images.size >= maxImages || this.#parts >= maxParts)) {
      this.#truncated = true;
      return;
    }
    const image: Gathered = known ?? {
      digest,
      usedAt,
      names: new Map(),
      parts: new Map(),
      children: new Map(),
      needsChild,
      isOwn: false,
    };
    this.#images.set(digest, image);
    image.usedAt = Math.max(image.usedAt, usedAt);
    image.needsChild &&= needsChild;
    image.isOwn ||= node === self;
    const by = this.#bitOf(node);
    this.#addParts(image, parts, by);
    for (const child of children)
      image.children.set(child.digest, { ...child, role: "manifest", size: null });
    for (const { text, expired, unproved } of names) {
      const before = image.names.get(text);
      if (before === undefined && image.names.size >= maxNames) continue;
      const lacking = before?.unproved ?? new Map<Digest, NodeBits>();
      for (const each of unproved) lacking.set(each, (lacking.get(each) ?? 0n) | by);
      // Where it may be had through one node, it may be had.
      image.names.set(text, {
        expired: expired && (before?.expired ?? true),
        unproved: lacking,
        nodes: [...(before?.nodes ?? []), node],
      });
    }
  }

  #addParts(
    image: Gathered,
    parts: Iterable<ReportedPart>,
    by: NodeBits,
    platform: string | null = null,
  ): void {
    for (const part of parts) {
      const known = image.parts.get(part.digest);
      if (known !== undefined) known.by |= by;
      else {
        image.parts.set(part.digest, { ...part, platform: part.platform ?? platform, by });
        this.#parts++;
      }
    }
  }

  #bitOf(node: string): NodeBits {
    const bit = this.#bits.get(node) ?? 1n << BigInt(this.#bits.size);
    this.#bits.set(node, bit);
    return bit;
  }

  /**
   * What one node gave of an index, and another one as its image, is one image: a balancer may send a client for each to another
   * node. Where none of an index's images was pulled through any node, all are needed.
   */
  #joinChildren(): void {
    const ofIndexes = new Set<Digest>();
    for (const image of this.#images.values()) {
      const known = [...image.parts.values(), ...image.children.values()];
      let joins = false;
      for (const { digest, role, platform } of known) {
        const child = role === "manifest" && digest !== image.digest ? this.#images.get(digest) : undefined;
        if (child === undefined) continue;
        this.#addParts(image, child.parts.values(), 0n, platform);
        ofIndexes.add(digest);
        image.isOwn ||= child.isOwn;
        joins = true;
      }
      if (image.needsChild && !joins) this.#addParts(image, image.children.values(), 0n);
    }
    for (const digest of ofIndexes) this.#images.delete(digest);
  }

  // ---- what is there ------------------------------------------------------------------------------------------

  /** Finds out where the parts of these images are, all of which are known then. */
  async #look(images: readonly Gathered[]): Promise<void> {
    // Those of earlier pages may be looked for again.
    if (this.#known.size >= maxKnown) this.#known.clear();
    const notHere = new Set<Digest>();
    for (const { parts } of images)
      for (const digest of parts.keys())
        if (!this.#known.has(digest) && !notHere.has(digest) && (await this.#hereOf(digest)) === "missing")
          notHere.add(digest);
    if (notHere.size === 0) return;
    const digests = [...notHere];
    const holders = await this.#disks.holders(digests);
    const absent = digests.filter((digest) => !holders.has(digest));
    const places = absent.length === 0 ? undefined : await this.#elsewhere(absent);
    const isSilent = this.#disks.silent.length > 0;
    for (const digest of digests) {
      const at = holders.get(digest) ?? places?.get(digest);
      const isKnown = at !== undefined && (at.length > 0 || !isSilent);
      this.#known.set(digest, isKnown ? (at.length > 0 ? "here" : "missing") : "unknown");
    }
  }

  /** By the disk alone: `missing` is what may be elsewhere, and is not remembered. */
  async #hereOf(digest: Digest): Promise<Absence | "here"> {
    const { store, index } = this.#options;
    const [row, file] = [index.get(digest), await store.info(digest)];
    if (file === undefined) return "missing";
    // A file without a row is one that has just been stored, or whose index is being repaired.
    const state = row !== undefined && row.size !== file.size ? "damaged" : "here";
    this.#known.set(digest, state);
    return state;
  }

  // ---- one image ----------------------------------------------------------------------------------------------

  /** Undefined for an image that is ready. */
  async #unready(image: Gathered): Promise<UnreadyImage | undefined> {
    const { digest, usedAt, names, parts } = image;
    const obstacles = [...parts.values()]
      .flatMap((part) => {
        const kind = this.#known.get(part.digest) ?? "unknown";
        return kind === "here" ? [] : [obstacle(kind, part)];
      })
      .slice(0, maxObstacles);
    if (obstacles.length === 0) obstacles.push(...(await this.#unreachable(image)));
    if (obstacles.length === 0) return undefined;
    const texts = names.size > 0 ? [...names.keys()] : [`@${digest}`];
    return { digest, names: texts, usedAt, obstacles };
  }

  /** Why it cannot be had by any of its names; nothing when it can by one. */
  async #unreachable({ digest, names, parts }: Gathered): Promise<Obstacle[]> {
    const root = parts.get(digest);
    if (root === undefined) return [];
    let first: Obstacle | undefined;
    for (const [text, name] of names) {
      const isPassed = this.#options.passesThrough(text.slice(0, text.indexOf("/")));
      const part = name.expired || isPassed ? root : await this.#withoutProof(name, parts);
      if (part === undefined) return [];
      first ??= obstacle(name.expired ? "tag_expired" : "unproved", part);
    }
    return [first ?? obstacle("unproved", root)];
  }

  /** The first that no node has but those which know the name and lack the proof: another one that has it had to prove it. */
  async #withoutProof(
    { unproved: lacking, nodes }: GatheredName,
    parts: ReadonlyMap<Digest, GatheredPart>,
  ): Promise<ReportedPart | undefined> {
    const named = nodes.reduce((bits, node) => bits | this.#bitOf(node), 0n);
    // A node proves nothing of a part that it has never heard of.
    const unproved = [...lacking].flatMap(([digest, by]) =>
      ((parts.get(digest)?.by ?? 0n) & named & ~by) === 0n ? [digest] : [],
    );
    if (unproved.length === 0) return undefined;
    const holders = await this.#disks.holders(unproved);
    for (const digest of unproved) {
      const isHere = (await this.#options.store.info(digest)) !== undefined;
      const places = [...(holders.get(digest) ?? []), ...(isHere ? [self] : [])];
      if (places.every((place) => nodes.includes(place))) return parts.get(digest);
    }
    return undefined;
  }
}

function obstacle(kind: Obstacle["kind"], { role, digest, platform, size }: ReportedPart): Obstacle {
  return { kind, role, digest, platform, sizeBytes: size };
}
