// How far the warming of one image has got: its parts, and what failed.
import type { Digest } from "../../oci/digest.ts";

export interface WarmPart {
  readonly kind: "manifest" | "blob";
  /** A digest; a tag for a manifest by tag until its digest is known. */
  readonly name: string;
  /** Bytes, when known. */
  size: number | undefined;
  state: "waiting" | "fetching" | "here" | "failed";
  /** It came while the job ran; else it had been here. */
  fetched: boolean;
  /** It is in the store that nodes share, where clients fetch it themselves. */
  elsewhere: boolean;
}

export interface WarmFailure {
  /** What failed: a digest, a tag, `referrers of` a digest. */
  readonly part: string;
  /** For people. */
  readonly reason: string;
}

/** Failures that are told; more are counted. */
const maxFailures = 5;
/** Manifests, configs and layers of one image, with what refers to it. */
export const maxParts = 20_000;

export class WarmProgress {
  readonly #parts = new Map<string, WarmPart>();
  #hasLeftOut = false;
  readonly failures: WarmFailure[] = [];
  /** All of them. */
  failed = 0;
  /** Questions that were asked again after an outage. */
  retries = 0;
  /** The upstream and repository it comes from, or that were asked last. */
  origin: { readonly upstream: string; readonly repository: string } | undefined;
  /** Of the manifest that the reference names, once known. */
  digest: Digest | undefined;

  /** In the order in which they became known. */
  get parts(): Iterable<WarmPart> {
    return this.#parts.values();
  }

  get count(): number {
    return this.#parts.size;
  }

  /** Undefined when it is known already, or one more than an image may have: the first such is a failure. */
  add(kind: WarmPart["kind"], name: string, size: number | undefined): WarmPart | undefined {
    if (this.#parts.has(name)) return undefined;
    if (this.#parts.size >= maxParts) {
      if (!this.#hasLeftOut)
        this.fail(
          name,
          `an image with more than ${maxParts} parts: this one and all further ones are left out`,
        );
      this.#hasLeftOut = true;
      return undefined;
    }
    const part: WarmPart = { kind, name, size, state: "waiting", fetched: false, elsewhere: false };
    this.#parts.set(name, part);
    return part;
  }

  fail(part: string, reason: string): void {
    this.failed++;
    if (this.failures.length < maxFailures) this.failures.push({ part, reason });
    const known = this.#parts.get(part);
    if (known !== undefined) known.state = "failed";
  }
}
