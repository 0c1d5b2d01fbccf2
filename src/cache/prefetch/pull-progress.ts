// How far one client is with the layers of one image: which it has asked for, which were fetched ahead of it, and which come
// next. Clients ask in the order of the manifest, several at a time, and leave out what they have: of a layer it is known only
// afterwards that it was left out.
import type { Digest } from "../../oci/digest.ts";
import type { RemoteRepository } from "../../ports/upstream.ts";

/** Layers of one image that are looked at: container runtimes take at most 127. */
export const maxLayers = 256;
/**
 * Layers fetched, or coming, that the client has not asked for yet: at most, and for each one that it has asked for in order.
 * Who asks for three at once is believed to want nine more; who has asked for one may leave out the next.
 */
export const maxAhead = 16;
const aheadForEach = 3;

/** A layer that was not here when the client began. */
export interface PullLayer {
  readonly digest: Digest;
  /** Bytes, as the manifest says; undefined: it does not, and the layer is never fetched ahead. */
  readonly size: number | undefined;
  /** The client has asked for it, perhaps at another node that reads it here, and has had an answer to its end. */
  asked: boolean;
  answered: boolean;
  /** What came of fetching it ahead: nothing, it is about to begin, its bytes are coming, they are here. */
  ahead: "no" | "deciding" | "coming" | "here";
}

export class PullProgress {
  readonly key: string;
  /** In the order of the manifest. */
  readonly layers: readonly PullLayer[];
  /** Everything that the manifest names. */
  readonly #parts: ReadonlySet<Digest>;
  readonly #byDigest: ReadonlyMap<Digest, PullLayer>;
  /** The client's requests under way, by the right by which each is asked; as many as it has open. */
  readonly #requests = new Set<{ readonly remote: RemoteRepository }>();
  readonly caller: string;
  /** Nothing more is fetched ahead. */
  stopped = false;
  /** When the client last asked for a layer, by the steady clock. */
  askedAt = 0;

  /** `missing`: the layers that are not here, in the order of the manifest; at most `maxLayers` count. */
  constructor(
    key: string,
    caller: string,
    parts: ReadonlySet<Digest>,
    missing: readonly Pick<PullLayer, "digest" | "size">[],
  ) {
    this.key = key;
    this.caller = caller;
    this.#parts = parts;
    this.layers = missing
      .slice(0, maxLayers)
      .map(({ digest, size }) => ({ digest, size, asked: false, answered: false, ahead: "no" }));
    this.#byDigest = new Map(this.layers.map((layer) => [layer.digest, layer]));
  }

  layer(digest: Digest): PullLayer | undefined {
    return this.#byDigest.get(digest);
  }

  /** Whether the digest is one of its config and layers. */
  has(digest: Digest): boolean {
    return this.#parts.has(digest);
  }

  /**
   * The client asks for the layer; the returned function is to be called when that request is over. It has left one out when
   * it asks for more after one behind that was answered to its end: requests sent together come in any order.
   */
  ask(layer: PullLayer, remote: RemoteRepository, now: number): () => void {
    const request = { remote };
    this.#requests.add(request);
    this.askedAt = now;
    if (!layer.asked) {
      layer.asked = true;
      this.stopped ||= this.skipped().length > 0;
    }
    return () => {
      this.#requests.delete(request);
      layer.answered = true;
    };
  }

  /** Layers that the client seems to have left out. */
  skipped(): readonly PullLayer[] {
    const first = this.layers.findIndex(({ asked }) => asked);
    const last = this.layers.findLastIndex(({ answered }) => answered);
    return first < 0 ? [] : this.layers.slice(first, Math.max(first, last)).filter(({ asked }) => !asked);
  }

  /** By whose right layers may be fetched now: that of a request under way. Undefined: the client waits for nothing. */
  get remote(): RemoteRepository | undefined {
    return [...this.#requests]
      .map(({ remote }) => remote)
      .findLast(({ registry }) => registry.caller?.waits !== false);
  }

  /** The layers behind the last one the client has asked for; none while there is a gap before that. */
  get next(): readonly PullLayer[] {
    const first = this.layers.findIndex(({ asked }) => asked);
    const last = this.layers.findLastIndex(({ asked }) => asked);
    if (first < 0 || this.stopped) return [];
    return this.layers.slice(first, last).every(({ asked }) => asked) ? this.layers.slice(last + 1) : [];
  }

  /** How many may be fetched, or coming, now. */
  get mostAhead(): number {
    return Math.min(maxAhead, aheadForEach * this.layers.filter(({ asked }) => asked).length);
  }

  /** Fetched, or coming, and not asked for. */
  get ahead(): readonly PullLayer[] {
    return this.layers.filter(({ ahead, asked }) => ahead !== "no" && !asked);
  }

  /** The client has asked for all, and waits for none. */
  get isOver(): boolean {
    return this.#requests.size === 0 && this.layers.every(({ asked }) => asked);
  }
}

/** Bytes of these layers. */
export function bytesOf(layers: readonly PullLayer[]): number {
  return layers.reduce((sum, { size = 0 }) => sum + size, 0);
}
