// Whether what is here, or comes from upstream, may be given out. Every way bytes leave by asks this one question.
import type { Digest } from "../../oci/digest.ts";
import type { Scope } from "../scope.ts";
import type { Refusal } from "../upstream-answer.ts";
import type { Blocked } from "./blocked.ts";

export type Verdict = { readonly kind: "allowed" } | Blocked;

export const allowed: Verdict = { kind: "allowed" };

export interface ManifestContent {
  readonly mediaType: string;
  readonly body: Buffer;
}

/**
 * A promise only where other nodes are asked who else has it, for a second at most. Both throw StoreError when what is known of
 * images cannot be read while something is blocked: then nobody is given anything that might be refused.
 */
export interface Verdicts {
  /** False while nothing can be refused: then nothing else is asked. */
  readonly any: boolean;
  /** `content`: left out where it is not known, or too large to be read: then it is refused by its digest. */
  manifest(scope: Scope, digest: Digest, content?: ManifestContent): Verdict | Promise<Verdict>;
  blob(scope: Scope, digest: Digest): Verdict | Promise<Verdict>;
}

/** Where nothing is refused. */
export const everythingAllowed: Verdicts = { any: false, manifest: () => allowed, blob: () => allowed };

/** Thrown at those who are being given it. */
export class BlockedError extends Error {
  readonly blocked: Blocked;

  constructor(blocked: Blocked) {
    super(blockedText(blocked));
    this.blocked = blocked;
  }
}

/** For clients: docker and containerd show it to their users. */
export function blockedText({ digest, reason, because }: Blocked): string {
  const what =
    because === "itself"
      ? `${digest} is blocked on this mirror`
      : because === "names"
        ? `this image has ${digest}, which is blocked on this mirror`
        : `this is part of an image that is refused, since ${digest} is blocked on this mirror`;
  return `${what}: ${reason}`;
}

/** The answer to who asks for it. */
export function refusalOf(blocked: Blocked): Refusal {
  return { kind: "denied", words: { message: blockedText(blocked) }, blocked };
}
