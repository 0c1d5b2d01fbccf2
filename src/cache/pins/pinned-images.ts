// What is held for pinned images, which eviction then passes over: of each its manifest, the images of an index, configs and
// layers, and what refers to them as far as it is here. A tag that moves keeps what it named before until the new image is here
// as a whole. All of them together have a budget, in their order; but an image that is held does not go because the tag of another
// one has moved.
import { setImmediate as turn } from "node:timers/promises";
import type { Digest } from "../../oci/digest.ts";
import { parseTag, type Tag } from "../../oci/name.ts";
import { parseReference } from "../../oci/reference.ts";
import {
  type HeldImage,
  type PinnedName,
  type PinnedPart,
  type PinState,
  type PinStore,
  pinnedText,
  type WantedPin,
} from "../../ports/pins/pins.ts";
import type { BlobIndex, ImageGraph, TagStore } from "../../ports/records.ts";

/** Pinned images that are looked at; the configuration's last ones are left out beyond. */
export const maxPinned = 2_000;
/** Parts of one image: they are written at once. */
export const maxPartsOfPin = 2_000;
const maxReferrers = 100;
/** Manifests looked at in one turn of the event loop. */
const perTurn = 10;

export interface PinnedImagesOptions {
  readonly store: PinStore;
  readonly graph: Pick<ImageGraph, "parts" | "referrers">;
  readonly index: Pick<BlobIndex, "get">;
  /** What a tag names, in the datacenter. */
  readonly tags: Pick<TagStore, "get">;
  /** The same as far as this node knows by itself: where signatures are looked for. */
  readonly ownTags: Pick<TagStore, "get">;
  /** Bytes that all of them may have. Read at every use. */
  readonly budget: () => number;
}

/** What was found of a pinned image. */
export interface PinFinding extends WantedPin {
  readonly state: PinState;
  /** What the name stands for now. */
  readonly digest: Digest | undefined;
  /** Of it, as far as is known. */
  readonly parts: number;
  readonly sizeBytes: number;
  readonly hereBytes: number;
  /** Manifests of it that are not here: what they name is not known. */
  readonly unknownManifests: number;
}

export interface PinFindings {
  readonly images: readonly PinFinding[];
  /** Bytes of all that is held, each part once. */
  readonly heldBytes: number;
  /** Bytes that all wanted images together would come to, as far as is known. */
  readonly neededBytes: number;
  /** Images that were wanted and are beyond the most that are looked at. */
  readonly leftOut: number;
}

interface Walked {
  readonly parts: ReadonlyMap<Digest, PinnedPart>;
  readonly hereBytes: number;
  readonly missing: number;
  readonly unknownManifests: number;
  /** It has more than `maxPartsOfPin`. */
  readonly tooLarge: boolean;
}

/** What pinning an image would come to, in bytes. */
export interface PinCost {
  readonly imageBytes: number;
  /** Of it what no pinned image needs yet. */
  readonly addedBytes: number;
  /** Of all pinned images then. */
  readonly totalBytes: number;
  readonly unknownManifests: number;
  readonly tooLarge: boolean;
}

export class PinnedImages {
  readonly #options: PinnedImagesOptions;

  constructor(options: PinnedImagesOptions) {
    this.#options = options;
  }

  /**
   * Holds what the wanted images, in this order, need within the budget, and nothing else any more. Upstream is not asked. To
   * be called again after it has resolved. Rejects with StoreError.
   */
  async look(wanted: readonly WantedPin[]): Promise<PinFindings> {
    const { store } = this.#options;
    const held = new Map(store.held().map((image) => [pinnedText(image), image]));
    const [sum, all, needed] = [new HeldBytes(), new HeldBytes(), new HeldBytes()];
    const looked = wanted.slice(0, maxPinned);
    for (const pin of looked) {
      if (!held.has(pinnedText(pin))) continue;
      all.add(store.partsOf(pin));
      await turn();
    }
    const images: PinFinding[] = [];
    for (const pin of looked) {
      const image = held.get(pinnedText(pin));
      held.delete(pinnedText(pin));
      images.push(await this.#look(pin, image, { sum, all, needed }));
      await turn();
    }
    for (const image of held.values()) {
      store.release(image);
      await turn();
    }
    return {
      images,
      heldBytes: sum.bytes,
      neededBytes: needed.bytes,
      leftOut: Math.max(0, wanted.length - maxPinned),
    };
  }

  /** Rejects with StoreError. */
  async costOf(pin: PinnedName, digest: Digest): Promise<PinCost> {
    const { store } = this.#options;
    const { parts, unknownManifests, tooLarge } = await this.#walk(pin, digest);
    let [imageBytes, addedBytes] = [0, 0];
    for (const { digest: part, size } of parts.values()) {
      imageBytes += size;
      if (!store.isHeld(part)) addedBytes += size;
    }
    return { imageBytes, addedBytes, totalBytes: store.heldBytes() + addedBytes, unknownManifests, tooLarge };
  }

  async #look(pin: WantedPin, held: HeldImage | undefined, { sum, all, needed }: Sums): Promise<PinFinding> {
    const { store, budget } = this.#options;
    const digest = await this.#digestOf(pin);
    const walked = digest === undefined ? undefined : await this.#walk(pin, digest);
    const before = held === undefined ? [] : store.partsOf(pin);
    all.remove(before);
    const parts = [...(walked?.parts.values() ?? [])];
    needed.add(parts);
    // What was here as a whole stays until the other one is.
    const kept = held?.digest === undefined || walked?.missing === 0 ? [] : before;
    const together = [...new Map([...kept, ...parts].map((part) => [part.digest, part])).values()];
    const hasMoved = held?.digest !== undefined && held.digest !== digest;
    const others = hasMoved ? all : sum;
    const state = stateOf(walked, others.bytes + others.added(together) > budget());
    if (state === "whole") store.hold(pin, together, digest);
    else if (state === "incomplete") store.hold(pin, together);
    else if (held !== undefined && sum.bytes + sum.added(before) > budget()) store.release(pin);
    const isHeld = state === "whole" || state === "incomplete";
    const now = isHeld ? together : store.isPinned(pin) ? before : [];
    sum.add(now);
    all.add(now);
    return {
      ...pin,
      state,
      digest,
      parts: parts.length,
      sizeBytes: parts.reduce((all, { size }) => all + size, 0),
      hereBytes: walked?.hereBytes ?? 0,
      unknownManifests: walked?.unknownManifests ?? 0,
    };
  }

  async #digestOf(pin: PinnedName): Promise<Digest | undefined> {
    const reference = parseReference(pin.reference);
    if (reference?.kind !== "tag") return reference?.digest;
    return (await this.#options.tags.get(pin, reference.tag))?.digest;
  }

  async #walk(pin: PinnedName, root: Digest): Promise<Walked> {
    const { graph, index } = this.#options;
    const parts = new Map<Digest, PinnedPart>();
    const manifests: Digest[] = [];
    let [hereBytes, missing, unknownManifests] = [0, 0, 0];
    const add = (digest: Digest, stated: number | undefined, isManifest: boolean): void => {
      if (parts.has(digest)) return;
      const row = index.get(digest);
      const size = row?.size ?? stated ?? 0;
      parts.set(digest, { digest, size });
      if (row === undefined) missing++;
      else hereBytes += size;
      if (!isManifest) return;
      if (row === undefined) unknownManifests++;
      else manifests.push(digest);
    };
    add(root, undefined, true);
    let looked = 0;
    // What is added while it is gone through is gone through as well.
    for (const manifest of manifests) {
      if (parts.size > maxPartsOfPin) break;
      for (const part of graph.parts(manifest, maxPartsOfPin + 1))
        add(part.digest, part.size, part.role === "manifest");
      for (const referrer of graph.referrers(manifest, maxReferrers)) add(referrer, undefined, true);
      for (const signature of await this.#tagged(pin, manifest)) add(signature, undefined, true);
      if (++looked % perTurn === 0) await turn();
    }
    return { parts, hereBytes, missing, unknownManifests, tooLarge: parts.size > maxPartsOfPin };
  }

  /** What is here of the tags that are made of the digest (sigstore/cosign, "Signature Storage"; referrers tag schema). */
  async #tagged(pin: PinnedName, manifest: Digest): Promise<readonly Digest[]> {
    const { ownTags, index } = this.#options;
    const name = manifest.replace(":", "-");
    const found: Digest[] = [];
    for (const suffix of [".sig", ".att", ".sbom", ""]) {
      const record = await ownTags.get(pin, parseTag(`${name}${suffix}`) as Tag);
      if (record !== undefined && index.get(record.digest) !== undefined) found.push(record.digest);
    }
    return found;
  }
}

function stateOf(walked: Walked | undefined, isOver: boolean): PinState {
  if (walked === undefined) return "unknown";
  if (walked.tooLarge) return "too_large";
  if (isOver) return "over_budget";
  return walked.missing === 0 ? "whole" : "incomplete";
}

/** Of what is held. */
interface Sums {
  /** For the images that have been looked at. */
  readonly sum: HeldBytes;
  /** For these, and for those that are still to be looked at. */
  readonly all: HeldBytes;
  /** For all of them, were there no budget. */
  readonly needed: HeldBytes;
}

/** Bytes of parts, each once. */
class HeldBytes {
  bytes = 0;
  readonly #parts = new Map<Digest, { readonly size: number; images: number }>();

  /** What these would add. */
  added(parts: readonly PinnedPart[]): number {
    return parts.reduce((sum, { digest, size }) => (this.#parts.has(digest) ? sum : sum + size), 0);
  }

  /** Those of one image. */
  add(parts: readonly PinnedPart[]): void {
    this.bytes += this.added(parts);
    for (const { digest, size } of parts) {
      const known = this.#parts.get(digest);
      if (known === undefined) this.#parts.set(digest, { size, images: 1 });
      else known.images++;
    }
  }

  /** Those of one image that was added. */
  remove(parts: readonly PinnedPart[]): void {
    for (const { digest } of parts) {
      const known = this.#parts.get(digest);
      if (known === undefined || --known.images > 0) continue;
      this.#parts.delete(digest);
      this.bytes -= known.size;
    }
  }
}
