// Images of an OCI image layout into a mirror. The layout is read once, in whatever order it comes: every byte is hashed here before it
// counts, blobs go to the mirror as they come unless it has them, and what may be a manifest is held until index.json says what it
// is. Only then are manifests handed over, those that others name first: nothing is served before all that it needs is there.
import type { Digest } from "../oci/digest.ts";
import { largestManifest, type Manifest, readManifest } from "../oci/manifest.ts";
import { type GivenPlace, type Place, placeOf } from "./image-names.ts";
import { LayoutError } from "./layout-error.ts";
import {
  checkLayoutFile,
  digestOfPath,
  indexName,
  type LayoutImage,
  largestIndexFile,
  largestLayoutFile,
  layoutName,
  parseIndexFile,
} from "./layout-files.ts";
import type { LayoutEntry, LayoutSource } from "./layout-source.ts";
import { bytesOf, hasDigest, verifiedBytes } from "./verified-bytes.ts";

/** Bytes of what may be manifests, and is held until the layout has been read. */
const maxHeldBytes = 256 * 1024 * 1024;
/** Indexes in indexes. */
const maxDepth = 4;
/** Parts that a message names. */
const maxNamed = 5;

/** The mirror that is brought images. Everything rejects with why it cannot be done. */
export interface ImportTarget {
  /** Whether it has the blob or manifest. */
  here(digest: Digest): Promise<boolean>;
  blob(digest: Digest, size: number, bytes: AsyncIterable<Buffer>): Promise<void>;
  /** All blobs that it names are there. */
  manifest(place: Place, digest: Digest, mediaType: string, body: Buffer): Promise<TakenManifest>;
}

export interface TakenManifest {
  readonly upstream: string;
  readonly repository: string;
  /** Nothing brings back what the mirror evicts. */
  readonly offline: boolean;
}

export interface ImportOptions {
  readonly source: LayoutSource;
  readonly target: ImportTarget;
  readonly given: GivenPlace;
  readonly signal: AbortSignal;
  /** So many bytes of blobs have been read. */
  readonly progress: (bytes: number) => void;
}

export interface ImportedImage extends TakenManifest {
  /** Null: it has none. */
  readonly tag: string | null;
  readonly digest: Digest;
  /** Manifests of it that were handed over, by their digests: those of whole images, not of indexes. */
  readonly whole: readonly Digest[];
  /** Images that its index names and the layout does not have, or not whole. */
  readonly leftOut: number;
}

export interface ImportResult {
  readonly images: readonly ImportedImage[];
  /** Blobs that were sent, and those the mirror had. */
  readonly sent: number;
  readonly sentBytes: number;
  readonly kept: number;
}

/** A manifest of an image, and those it names, that can be handed over. */
interface Walked {
  readonly digest: Digest;
  readonly body: Buffer;
  readonly manifest: Manifest;
  readonly children: readonly Walked[];
  readonly leftOut: number;
}

/** Rejects with LayoutError, with what the target rejects with, and with the signal's reason. What was handed over by then stays. */
export async function importLayout(options: ImportOptions): Promise<ImportResult> {
  return await new Import(options).run();
}

class Import {
  readonly #options: ImportOptions;
  #isLayout = false;
  #images: readonly LayoutImage[] | undefined;
  /** What may be manifests. */
  readonly #held = new Map<Digest, { readonly body: Buffer; readonly manifest: Manifest }>();
  #heldBytes = 0;
  /** Blobs that the mirror has, and that this layout has, too: who names bytes without having them gets no right to them. */
  readonly #brought = new Map<Digest, number>();
  /** What the images name, once all their manifests are held; undefined before that. */
  #needed: { readonly of: number; readonly digests: ReadonlySet<Digest> | undefined } | undefined;
  readonly #sent = { blobs: 0, bytes: 0, kept: 0, read: 0 };

  constructor(options: ImportOptions) {
    this.#options = options;
  }

  async run(): Promise<ImportResult> {
    const { source, signal } = this.#options;
    for await (const entry of source) {
      signal.throwIfAborted();
      await this.#entry(entry);
    }
    const images = this.#images;
    if (images === undefined)
      throw new LayoutError(
        "not_a_layout",
        `it has no ${indexName}: an archive that docker has saved before version 25 is none; skopeo copy docker-archive:FILE oci-archive:FILE makes one of it`,
      );
    if (!this.#isLayout) throw new LayoutError("not_a_layout", `it has no file ${layoutName}`);
    if (images.length === 0) throw new LayoutError("incomplete", `${indexName} names no image`);
    // All names are known, and all parts are there, before anything is served.
    const wanted = images.map((image) => ({
      image,
      place: placeOf(image, this.#options.given),
      root: this.#walk(image.digest, image.mediaType, 0),
    }));
    // What refers to an image is handed over after it.
    wanted.sort((a, b) => Number(isReferring(a.place)) - Number(isReferring(b.place)));
    const imported: ImportedImage[] = [];
    for (const { place, root } of wanted) imported.push(await this.#hand(place, root));
    const { blobs: sent, bytes: sentBytes, kept } = this.#sent;
    return { images: imported, sent, sentBytes, kept };
  }

  // ---- what comes ---------------------------------------------------------------------------------------------

  async #entry(entry: LayoutEntry): Promise<void> {
    const { path, bytes } = entry;
    if (path === layoutName) {
      checkLayoutFile(await bytesOf(path, largestLayoutFile, bytes()));
      this.#isLayout = true;
    } else if (path === indexName) {
      if (this.#images !== undefined) throw new LayoutError("hostile", `it has two files ${indexName}`);
      this.#images = parseIndexFile(await bytesOf(path, largestIndexFile, bytes()));
    } else {
      const digest = digestOfPath(path);
      // Of a second one the first is as good.
      if (digest !== undefined && !this.#brought.has(digest) && !this.#held.has(digest))
        await this.#blob(digest, entry);
    }
  }

  async #blob(digest: Digest, { path, size, bytes }: LayoutEntry): Promise<void> {
    if (this.#neededNow()?.has(digest) === false) return;
    if (size > largestManifest) {
      await this.#bring(digest, size, bytes());
      return;
    }
    const body = await bytesOf(path, largestManifest, bytes());
    if (body.length !== size || !hasDigest(digest, body))
      throw new LayoutError("wrong_bytes", `the bytes of ${path} do not have this digest`);
    const manifest = body[0] === 0x7b ? readManifest(body, undefined) : "not_json";
    if (typeof manifest !== "string") this.#hold(digest, body, manifest);
    else await this.#bring(digest, size, oneChunk(body));
  }

  #hold(digest: Digest, body: Buffer, manifest: Manifest): void {
    this.#heldBytes += body.length;
    if (this.#heldBytes > maxHeldBytes)
      throw new LayoutError("too_large", `it has more than ${maxHeldBytes} bytes of manifests`);
    this.#held.set(digest, { body, manifest });
  }

  /** Sends it, or reads it all the same when the mirror has it. */
  async #bring(digest: Digest, size: number, bytes: AsyncIterable<Buffer>): Promise<void> {
    const { target, signal } = this.#options;
    signal.throwIfAborted();
    const verified = this.#counted(verifiedBytes(digest, size, bytes));
    if (await target.here(digest)) {
      for await (const _ of verified) signal.throwIfAborted();
      this.#sent.kept++;
    } else {
      await target.blob(digest, size, verified);
      this.#sent.blobs++;
      this.#sent.bytes += size;
    }
    this.#brought.set(digest, size);
  }

  async *#counted(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.#sent.read += chunk.length;
      this.#options.progress(this.#sent.read);
      yield chunk;
    }
  }

  /** Everything that the images name, where all of their manifests have come; undefined: anything may be needed. */
  #neededNow(): ReadonlySet<Digest> | undefined {
    if (this.#images === undefined) return undefined;
    const of = this.#held.size;
    if (this.#needed?.of !== of) this.#needed = { of, digests: this.#closure(this.#images) };
    return this.#needed.digests;
  }

  #closure(images: readonly LayoutImage[]): ReadonlySet<Digest> | undefined {
    const digests = new Set<Digest>(images.map(({ digest }) => digest));
    const manifests = [...digests];
    // What is added while it is gone through is gone through as well.
    for (const digest of manifests) {
      const held = this.#held.get(digest);
      if (held === undefined) return undefined;
      for (const child of held.manifest.children) {
        if (digests.has(child.digest)) continue;
        digests.add(child.digest);
        if (child.role === "manifest") manifests.push(child.digest);
      }
    }
    return digests;
  }

  // ---- what is handed over ------------------------------------------------------------------------------------

  /** Throws LayoutError for an image that is not whole; an index has to have one that is. */
  #walk(digest: Digest, mediaType: string | undefined, depth: number): Walked {
    const held = this.#held.get(digest);
    if (held === undefined)
      throw new LayoutError(
        this.#brought.has(digest) ? "not_a_layout" : "incomplete",
        this.#brought.has(digest)
          ? `${digest} is no manifest that is read: it has more than 4 MiB, or is none`
          : `it does not have manifest ${digest}`,
      );
    const { body } = held;
    const manifest = readManifest(body, mediaType);
    if (typeof manifest === "string")
      throw new LayoutError("not_a_layout", `manifest ${digest} cannot be used: ${manifest}`);
    if (depth > maxDepth) throw new LayoutError("too_large", `indexes more than ${maxDepth} deep`);
    const missing = manifest.blobs.filter(
      (blob) => !this.#brought.has(blob.digest) && !this.#held.has(blob.digest),
    );
    if (missing.length > 0) {
      const named = missing.slice(0, maxNamed).map((blob) => blob.digest);
      const more = missing.length > maxNamed ? ` and ${missing.length - maxNamed} more` : "";
      throw new LayoutError(
        "incomplete",
        `manifest ${digest} names what it does not have: ${named.join(", ")}${more}`,
      );
    }
    const children: Walked[] = [];
    let leftOut = 0;
    let first: unknown;
    const inner =
      manifest.blobs.length > 0 ? [] : manifest.children.filter(({ role }) => role === "manifest");
    for (const child of inner)
      try {
        children.push(this.#walk(child.digest, undefined, depth + 1));
      } catch (error) {
        if (!(error instanceof LayoutError && error.code === "incomplete")) throw error;
        first ??= error;
        leftOut++;
      }
    if (children.length === 0 && first !== undefined) throw first;
    return { digest, body, manifest, children, leftOut };
  }

  async #hand(place: Place, root: Walked): Promise<ImportedImage> {
    const whole: Digest[] = [];
    let leftOut = 0;
    const hand = async (walked: Walked, to: Place): Promise<TakenManifest> => {
      const { digest, body, manifest, children } = walked;
      leftOut += walked.leftOut;
      for (const child of children) await hand(child, { ...place, tag: undefined });
      for (const blob of manifest.blobs) await this.#bringHeld(blob.digest);
      const taken = await this.#options.target.manifest(to, digest, manifest.mediaType, body);
      if (children.length === 0) whole.push(digest);
      return taken;
    };
    const { upstream, repository, offline } = await hand(root, place);
    return { upstream, repository, offline, tag: place.tag ?? null, digest: root.digest, whole, leftOut };
  }

  /** A config that looks like a manifest was held, too. */
  async #bringHeld(digest: Digest): Promise<void> {
    const held = this.#held.get(digest);
    if (held !== undefined && !this.#brought.has(digest))
      await this.#bring(digest, held.body.length, oneChunk(held.body));
  }
}

/** A tag that is made of the digest of another image. */
function isReferring({ tag }: Place): boolean {
  return tag !== undefined && /^sha(?:256|512)-[0-9a-f]{64}/.test(tag);
}

async function* oneChunk(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}
