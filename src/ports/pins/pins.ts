// Pinned images: what is never evicted. Implementations live in src/storage; the store's conformance suite is in test/fixtures.
import type { Digest } from "../../oci/digest.ts";
import type { Scope } from "../scope.ts";

/** What made an image a pinned one. */
export const pinOrigins = ["command", "configuration"] as const;
export type PinOrigin = (typeof pinOrigins)[number];

export interface WantedPin extends PinnedName {
  readonly origin: PinOrigin;
  /** When it was commanded, in milliseconds since the epoch; of the configuration undefined. */
  readonly at: number | undefined;
}

/**
 * `whole`: all of it is here. `incomplete`: something of it is still to come, or cannot be had; what was here as a whole before
 * is held until then. `over_budget`: it would take more than pinned images may have, and nothing of it is held but what was
 * before, as far as that fits. `too_large`: it has more parts than a pinned image may have. `unknown`: what the name stands for
 * is not known yet.
 */
export const pinStates = ["whole", "incomplete", "over_budget", "too_large", "unknown"] as const;
export type PinState = (typeof pinStates)[number];

/** Tags that this node has records of. All throw StoreError. */
export interface KnownTags {
  /** Repositories with a number above `after`, in the order of these; at most `limit`. */
  repositories(after: number, limit: number): readonly (Scope & { readonly id: number })[];
  /** Of the repository with that number, in their order; at most `limit`. */
  tagsOf(id: number, limit: number): readonly string[];
}

/** An image by its name. */
export interface PinnedName extends Scope {
  /** A tag or a digest. */
  readonly reference: string;
}

/** As references are written, with the upstream's name before it. No other image has the same. */
export function pinnedText({ upstream, repository, reference }: PinnedName): string {
  return `${upstream}/${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
}

/** Pins made by command that are kept, in all nodes of the datacenter. */
export const maxCommanded = 1_000;

/**
 * What was last commanded of an image: that it be pinned, or no more. The latter is kept too, for `forgetUnpinned`
 * milliseconds: a node that was away meanwhile still says the former.
 */
export interface PinCommand extends PinnedName {
  readonly pinned: boolean;
  /** Milliseconds since the epoch, by the clock of the node that was told. */
  readonly at: number;
}

/** Milliseconds: 30 days. */
export const forgetUnpinned = 30 * 86_400_000;

export interface PinnedPart {
  readonly digest: Digest;
  /** Bytes, as far as is known. */
  readonly size: number;
}

/** A pinned image with what is held for it. */
export interface HeldImage extends PinnedName {
  /** Of the manifest that is held as a whole; undefined: none has been here as a whole yet. */
  readonly digest: Digest | undefined;
}

/** What others may ask: whether something is pinned. All throw StoreError. */
export interface PinLookup {
  /** Whether a pinned image needs the blob or manifest: it is not evicted, be it here or not. */
  isHeld(digest: Digest): boolean;
  /** Whether the image is pinned by that name. */
  isPinned(name: PinnedName): boolean;
  /** Pinned images that need the blob or manifest; at most `limit`. */
  pinsOf(digest: Digest, limit: number): readonly PinnedName[];
}

/** The commands, and what is held for the pinned images of commands and of the configuration. All throw StoreError. */
export interface PinStore extends PinLookup {
  /** In the order in which they were made. */
  commands(): readonly PinCommand[];
  /**
   * Takes over those that are later than what is known of their images, and gives their number; what unpins goes after
   * `forgetUnpinned`. At most `maxCommanded` pins are kept, what is beyond is left out; and as many that unpin, the latest.
   */
  command(commands: readonly PinCommand[], now: number): number;
  held(): readonly HeldImage[];
  /**
   * From now on these parts, and no others, are held for the image, in one write. `digest`: of the manifest that they are the
   * whole of; left out, it stays what it was.
   */
  hold(image: PinnedName, parts: readonly PinnedPart[], digest?: Digest): void;
  /** Nothing is held for the image any more. */
  release(image: PinnedName): void;
  /** Digests that are held for the image. */
  partsOf(image: PinnedName): readonly PinnedPart[];
  /** Bytes of all that is held, each part once. */
  heldBytes(): number;
}
