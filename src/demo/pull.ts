// A small image puller that asks as docker does: HEAD the tag, GET the manifest by digest, the platform's child of
// an index, then the config and the layers, three at a time. Every digest and size is verified; nothing is kept.
import { createHash, type Hash } from "node:crypto";
import { Pool } from "undici";
import { z } from "zod";
import { type Digest, digestAlgorithm, digestHex, parseDigest } from "../oci/digest.ts";
import { manifestAccept } from "../oci/media-type.ts";

export interface PullOptions {
  /** Registry base URL; a path in it stands before `/v2/`. */
  readonly registry: URL;
  readonly repository: string;
  readonly tag: string;
  readonly platform: { readonly os: string; readonly architecture: string };
  readonly credentials?: { readonly username: string; readonly password: string };
  readonly signal: AbortSignal;
  /** Called for every chunk once the image's manifest is known: bytes so far, and in all. */
  readonly onProgress?: (received: number, total: number) => void;
}

export interface PullResult {
  readonly requests: number;
  /** Body bytes received: manifests, config and layers. */
  readonly bytes: number;
  readonly ms: number;
  readonly layers: number;
}

export type PullErrorCode = "status" | "digest_mismatch" | "bad_manifest" | "no_platform" | "network";

/** The image did not arrive whole. */
export class PullError extends Error {
  readonly code: PullErrorCode;
  constructor(code: PullErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PullError";
    this.code = code;
  }
}

const maxManifestSize = 4 * 1024 * 1024;
const parallelBlobs = 3;

const digest = z.string().transform((text, context): Digest => {
  const parsed = parseDigest(text);
  if (parsed === undefined) context.addIssue("not a digest");
  return parsed ?? z.NEVER;
});
const descriptor = z.object({ digest, size: z.int().nonnegative() });
const platform = z.object({ os: z.string(), architecture: z.string() });
const indexManifest = z.object({ manifests: z.array(descriptor.extend({ platform })) });
const imageManifest = z.object({ config: descriptor, layers: z.array(descriptor) });
type Descriptor = z.infer<typeof descriptor>;

/** Rejects with PullError, or with the signal's reason once it is aborted. */
export async function pullImage(options: PullOptions): Promise<PullResult> {
  const started = performance.now();
  const session = new PullSession(options);
  try {
    const layers = await session.pull();
    return { ...session.counts, ms: performance.now() - started, layers };
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof PullError) throw error;
    throw new PullError("network", `${options.registry.host} did not answer to the end`, { cause: error });
  } finally {
    await session.close();
  }
}

class PullSession {
  readonly counts = { requests: 0, bytes: 0 };
  readonly #options: PullOptions;
  readonly #pool: Pool;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #headers: Record<string, string>;
  #total = 0;

  constructor(options: PullOptions) {
    this.#options = options;
    this.#pool = new Pool(options.registry.origin, { connections: parallelBlobs });
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#headers = { accept: manifestAccept, "user-agent": "entrepot-demo" };
    const { credentials } = options;
    if (credentials) {
      const pair = Buffer.from(`${credentials.username}:${credentials.password}`);
      this.#headers.authorization = `Basic ${pair.toString("base64")}`;
    }
  }

  close(): Promise<void> {
    this.#failed.abort();
    return this.#pool.destroy();
  }

  /** Gives the number of layers. */
  async pull(): Promise<number> {
    let json = await this.#manifest(await this.#resolveTag());
    const index = indexManifest.safeParse(json);
    if (index.success) json = await this.#manifest(this.#choose(index.data.manifests));
    const image = imageManifest.safeParse(json);
    if (!image.success) throw new PullError("bad_manifest", "the manifest is neither an image nor an index");
    const blobs = [image.data.config, ...image.data.layers];
    this.#total = this.counts.bytes + blobs.reduce((sum, blob) => sum + blob.size, 0);
    const queue = blobs.values();
    await Promise.all(Array.from({ length: parallelBlobs }, () => this.#takeBlobs(queue)));
    return image.data.layers.length;
  }

  /** One of the parallel workers; the first failure ends the others. */
  async #takeBlobs(queue: Iterator<Descriptor, undefined> & Iterable<Descriptor>): Promise<void> {
    try {
      for (const blob of queue) await this.#receive(`blobs/${blob.digest}`, blob.digest, blob.size);
    } catch (error) {
      this.#failed.abort(error);
      throw error;
    }
  }

  #choose(manifests: readonly (Descriptor & { readonly platform: z.infer<typeof platform> })[]): Descriptor {
    const { os, architecture } = this.#options.platform;
    const child = manifests.find(
      ({ platform }) => platform.os === os && platform.architecture === architecture,
    );
    if (child) return child;
    throw new PullError("no_platform", `the index has no image for ${os}/${architecture}`);
  }

  async #resolveTag(): Promise<Descriptor> {
    const { tag } = this.#options;
    const { headers, body } = await this.#request("HEAD", `manifests/${tag}`);
    await body.dump();
    const parsed = descriptor.safeParse({
      digest: headers["docker-content-digest"],
      size: Number(headers["content-length"] ?? Number.NaN),
    });
    if (parsed.success) return parsed.data;
    throw new PullError("bad_manifest", `HEAD of tag ${tag} gives no digest or no length`);
  }

  async #manifest({ digest, size }: Descriptor): Promise<unknown> {
    if (size > maxManifestSize)
      throw new PullError("bad_manifest", `a manifest of ${size} bytes is too large`);
    const parts: Buffer[] = [];
    await this.#receive(`manifests/${digest}`, digest, size, (part) => parts.push(part));
    try {
      return JSON.parse(Buffer.concat(parts).toString("utf8"));
    } catch (error) {
      throw new PullError("bad_manifest", `manifest ${digest} is not JSON`, { cause: error });
    }
  }

  /** Receives one verified body of `size` bytes; `keep` sees every part. */
  async #receive(path: string, digest: Digest, size: number, keep?: (part: Buffer) => void): Promise<void> {
    const { body } = await this.#request("GET", path);
    const hash: Hash = createHash(digestAlgorithm(digest));
    let received = 0;
    for await (const part of body as AsyncIterable<Buffer>) {
      received += part.length;
      this.counts.bytes += part.length;
      if (received > size) break;
      hash.update(part);
      keep?.(part);
      if (this.#total > 0) this.#options.onProgress?.(this.counts.bytes, this.#total);
    }
    if (received !== size || hash.digest("hex") !== digestHex(digest)) {
      throw new PullError("digest_mismatch", `${path} is not what its digest says`);
    }
  }

  async #request(method: "GET" | "HEAD", path: string): Promise<Awaited<ReturnType<Pool["request"]>>> {
    const base = this.#options.registry.pathname.replace(/\/$/, "");
    this.counts.requests += 1;
    const answer = await this.#pool.request({
      method,
      path: `${base}/v2/${this.#options.repository}/${path}`,
      headers: this.#headers,
      signal: this.#signal,
    });
    if (answer.statusCode === 200) return answer;
    await answer.body.dump();
    throw new PullError("status", `${method} ${path} was answered with status ${answer.statusCode}`);
  }
}
