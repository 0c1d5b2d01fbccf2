// Why something is given to nobody.
import type { Digest } from "../../oci/digest.ts";
import type { BlockedBecause } from "../event.ts";

export interface Blocked {
  readonly kind: "blocked";
  /** What an operator has blocked. */
  readonly digest: Digest;
  readonly reason: string;
  readonly because: BlockedBecause;
}
