// Bodies of pushed manifests, read into memory before they are sent on. They can be sent again after a redirect, the
// loss of an idle connection or a challenge, so that none of these fails the push.
import { largestManifest } from "../../oci/manifest.ts";
import { ClientLeft, type Exchange } from "../exchange.ts";
import { BodyStalled } from "./forwarding.ts";

/** Most bytes held for one upstream. A body for which there is no room is streamed. */
const mostHeld = 32 * 1024 * 1024;

/** A body of unknown length that turned out longer than a manifest may be. */
export class BodyTooLong extends Error {}

export interface HeldBody {
  readonly bytes: Buffer;
  /** To be called when the body will not be sent again. Idempotent. */
  release(): void;
}

export class HeldBodies {
  readonly #most: number;
  #held = 0;

  /** `most`: bytes of all bodies together. */
  constructor(most = mostHeld) {
    this.#most = most;
  }

  /** Bytes held, or reserved for bodies that are being read. */
  get held(): number {
    return this.#held;
  }

  /**
   * The whole body, of at most 4 MiB. Undefined, with nothing read, when it announces more or there is no room for it.
   * Rejects with BodyStalled when no byte comes for `silence` milliseconds, with BodyTooLong, and with ClientLeft.
   */
  async read(exchange: Exchange, silence: number): Promise<HeldBody | undefined> {
    const announced = exchange.request.headers["content-length"];
    const most = announced === undefined ? largestManifest : Number(announced);
    if (!(most <= largestManifest) || this.#held + most > this.#most) return undefined;
    this.#held += most;
    let reserved = most;
    const release = (): void => {
      this.#held -= reserved;
      reserved = 0;
    };
    try {
      const bytes = await readWhole(exchange, most, silence);
      this.#held -= reserved - bytes.length;
      reserved = bytes.length;
      return { bytes, release };
    } catch (error) {
      release();
      throw error;
    }
  }
}

async function readWhole(exchange: Exchange, most: number, silence: number): Promise<Buffer> {
  const { request } = exchange;
  if (exchange.closed) throw new ClientLeft();
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const stalled = setTimeout(() => reject(new BodyStalled("the request's body stopped coming")), silence);
  const off = exchange.onOver(() => reject(new ClientLeft()));
  const onData = (chunk: Buffer): void => {
    stalled.refresh();
    length += chunk.length;
    if (length > most) reject(new BodyTooLong("the request's body is longer than a manifest may be"));
    else chunks.push(chunk);
  };
  const onEnd = (): void => resolve(Buffer.concat(chunks, length));
  request.on("data", onData);
  request.once("end", onEnd);
  try {
    return await promise;
  } finally {
    clearTimeout(stalled);
    off();
    request.off("data", onData);
    request.off("end", onEnd);
    if (!request.complete) request.pause();
  }
}
