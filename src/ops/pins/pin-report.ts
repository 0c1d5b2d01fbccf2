// What is told of pinned images. Times in milliseconds since the epoch.
import type { PinOrigin, PinState } from "../../ports/pins/pins.ts";

export interface PinReport {
  /** `upstream/repository:tag`, or `@digest`. */
  readonly image: string;
  readonly upstream: string;
  readonly repository: string;
  /** The tag or digest. */
  readonly reference: string;
  /** A command, or the configuration (`pin.images`); of both the command. */
  readonly origin: PinOrigin;
  /** When it was commanded. */
  readonly pinnedAt: number | null;
  readonly state: PinState;
  /** Of what the name stands for now; null: that is not known yet. */
  readonly digest: string | null;
  /** Of it, as far as its manifests are here. */
  readonly parts: number;
  readonly sizeBytes: number;
  readonly hereBytes: number;
  /** Why something could not be fetched the last time; null: nothing is known to have failed. */
  readonly reason: string | null;
}

export interface PinsReport {
  readonly schema: 1;
  readonly at: number;
  /** Bytes that pinned images may have. */
  readonly budgetBytes: number;
  /** Bytes held for them, each part once, be it here or still to come. */
  readonly heldBytes: number;
  /** Bytes that all of them together would come to, with those that are over the budget. */
  readonly neededBytes: number;
  /** Images that are not told of, nor held: there are more than may be. */
  readonly leftOut: number;
  /** In the order in which they have the budget: those of commands before those of the configuration. */
  readonly pins: readonly PinReport[];
}

/** What has come of unpinning an image. */
export interface UnpinnedReport {
  readonly image: string;
  /** It is no more pinned by command, and still by the configuration. */
  readonly stillConfigured: boolean;
}
