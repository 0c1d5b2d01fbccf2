// What an export has to write: of each image its manifests, which are read first and held until they are written, and the blobs they
// name, each once whichever images share it.
import { createHash } from "node:crypto";
import type { JsonObject } from "../oci/descriptor.ts";
import { type Digest, digestAlgorithm, makeDigest } from "../oci/digest.ts";
import { readManifest } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import { parseTag, type Tag } from "../oci/name.ts";
import { indexEntries, otherPlatforms, type Platform } from "../oci/platform.ts";
import { type Reference, referenceText } from "../oci/reference.ts";
import type { RemoteRepository } from "../ports/upstream.ts";
import { annotationsOf } from "./image-names.ts";
import { LayoutError } from "./layout-error.ts";
import { maxImages } from "./layout-files.ts";

/** Manifests of one export, the bytes of all of them, and indexes in indexes. */
const maxManifests = 50_000;
const maxManifestBytes = 256 * 1024 * 1024;
const maxDepth = 4;

/** An image to be exported. */
export interface WantedImage {
  /** As it was asked for. */
  readonly image: string;
  /** Where it is pulled from; its scope is written into the layout. */
  readonly remote: RemoteRepository;
  readonly reference: Reference;
  /** See annotationsOf. */
  readonly host: string | undefined;
}

export interface PlanOptions {
  /** Of an index only these, and their attestations; none: all. */
  readonly platforms: readonly Platform[];
  /** With what refers to the images: the referrers API, and the tags that are made of their digests. */
  readonly referrers: boolean;
}

/** One that was found. */
export interface PlannedImage {
  readonly image: string;
  readonly digest: Digest;
  /** Of it and all that it names, those shared with other images too. */
  readonly bytes: number;
  readonly blobs: number;
  readonly manifests: number;
}

export interface PlannedBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly remote: RemoteRepository;
}

interface Held {
  readonly body: Buffer;
  readonly mediaType: string;
}

/** Parts of one image. */
class Parts {
  readonly seen = new Set<Digest>();
  bytes = 0;
  blobs = 0;
  manifests = 0;
}

export class ExportPlan {
  readonly images: PlannedImage[] = [];
  readonly manifests = new Map<Digest, Held>();
  readonly blobs = new Map<Digest, PlannedBlob>();
  readonly #options: PlanOptions;
  readonly #descriptors: JsonObject[] = [];
  #manifestBytes = 0;

  constructor(options: PlanOptions) {
    this.#options = options;
  }

  /** Of index.json. */
  get descriptors(): readonly JsonObject[] {
    return this.#descriptors;
  }

  /** Bytes of all blobs and manifests. */
  get bytes(): number {
    let sum = this.#manifestBytes;
    for (const { size } of this.blobs.values()) sum += size;
    return sum;
  }

  /** Rejects with UpstreamError, and with LayoutError for what cannot be had or cannot stand in a layout. */
  async add({ image, remote, reference, host }: WantedImage): Promise<void> {
    const parts = new Parts();
    const digest = await this.#walk(remote, reference, parts, 0, "image");
    if (digest === undefined) throw new LayoutError("not_given", `the mirror has no ${image}`);
    this.#name(remote, reference.kind === "tag" ? reference.tag : undefined, digest, host);
    const { bytes, blobs, manifests } = parts;
    this.images.push({ image, digest, bytes, blobs, manifests });
  }

  /** What stood under the same tag before goes. */
  #name(remote: RemoteRepository, tag: Tag | undefined, digest: Digest, host: string | undefined): void {
    const held = this.manifests.get(digest);
    if (held === undefined) return;
    if (this.#descriptors.length >= maxImages)
      throw new LayoutError("too_large", `more than ${maxImages} images in one layout`);
    const { upstream, repository } = remote;
    const annotations = annotationsOf({ upstream, repository, tag }, digest, host);
    const { mediaType, body } = held;
    const descriptor = { mediaType, digest, size: body.length, annotations };
    const text = JSON.stringify(annotations);
    const at = this.#descriptors.findIndex((each) => JSON.stringify(each.annotations) === text);
    if (at >= 0) this.#descriptors[at] = descriptor;
    else this.#descriptors.push(descriptor);
  }

  /** The digest of what the reference names, with all that it names; undefined when there is none. */
  async #walk(
    remote: RemoteRepository,
    reference: Reference,
    parts: Parts,
    depth: number,
    of: "image" | "referrer",
  ): Promise<Digest | undefined> {
    const known = reference.kind === "digest" ? reference.digest : undefined;
    if (known !== undefined && parts.seen.has(known)) return known;
    const name = `${remote.repository}${reference.kind === "tag" ? ":" : "@"}${referenceText(reference)}`;
    if (depth > maxDepth) throw new LayoutError("too_large", `${name}: indexes more than ${maxDepth} deep`);
    const found = await this.#manifest(remote, reference, name);
    if (found === undefined) return undefined;
    const { digest, body, mediaType } = found;
    const manifest = readManifest(body, mediaType);
    if (typeof manifest === "string")
      throw new LayoutError("not_given", `${name} cannot be read: ${manifest}`);
    if (
      manifest.mediaType === mediaTypes.dockerManifestV1 ||
      manifest.mediaType === mediaTypes.dockerManifestV1Signed
    )
      throw new LayoutError("not_given", `${name} is of Docker's schema 1, which no OCI layout can have`);
    if (parts.seen.has(digest)) return digest;
    parts.seen.add(digest);
    parts.manifests++;
    parts.bytes += body.length;
    this.#hold(digest, { body, mediaType: manifest.mediaType });
    const left = of === "image" ? otherPlatforms(body, this.#options.platforms) : new Set<Digest>();
    const children = manifest.children.filter((child) => !left.has(child.digest));
    if (left.size > 0 && children.length === 0)
      throw new LayoutError("not_given", `${name} has no image for these platforms`);
    const entries = indexEntries(body);
    for (const { role, digest: child, size } of children)
      if (role === "manifest") {
        const kind = entries.get(child)?.attests === undefined ? of : "referrer";
        if (
          (await this.#walk(remote, { kind: "digest", digest: child }, parts, depth + 1, kind)) === undefined
        )
          throw new LayoutError("not_given", `${name} names ${child}, which the mirror does not have`);
      } else this.#blob(remote, child, size, parts, name);
    if (of === "image" && this.#options.referrers) await this.#referring(remote, digest, parts, depth);
    return digest;
  }

  #blob(
    remote: RemoteRepository,
    digest: Digest,
    size: number | undefined,
    parts: Parts,
    name: string,
  ): void {
    if (size === undefined)
      throw new LayoutError("not_given", `${name} does not state the size of ${digest}`);
    if (!parts.seen.has(digest)) {
      parts.seen.add(digest);
      parts.blobs++;
      parts.bytes += size;
    }
    const before = this.blobs.get(digest);
    if (before !== undefined && before.size !== size)
      throw new LayoutError(
        "not_given",
        `${name} states ${size} bytes for ${digest}, another image ${before.size}`,
      );
    if (before === undefined) this.blobs.set(digest, { digest, size, remote });
  }

  async #manifest(
    { registry, repository }: RemoteRepository,
    reference: Reference,
    name: string,
  ): Promise<
    | (Held & { readonly digest: Digest })
    | { digest: Digest; body: Buffer; mediaType: string | undefined }
    | undefined
  > {
    const known = reference.kind === "digest" ? this.manifests.get(reference.digest) : undefined;
    if (known !== undefined && reference.kind === "digest") return { ...known, digest: reference.digest };
    const answer = await registry.getManifest(repository, reference);
    if (answer.kind === "absent") return undefined;
    if (answer.kind === "denied")
      throw new LayoutError(
        "not_given",
        `the mirror refuses ${name}: ${answer.words?.message ?? "no right to it"}`,
      );
    if (answer.kind === "oversize") {
      answer.discard();
      throw new LayoutError("too_large", `${name} has more than 4 MiB, which no layout of ours takes`);
    }
    const { body, mediaType } = answer;
    const wanted = reference.kind === "digest" ? reference.digest : answer.digest;
    const algorithm = wanted === undefined ? "sha256" : digestAlgorithm(wanted);
    const digest = makeDigest(algorithm, createHash(algorithm).update(body).digest("hex"));
    if (wanted !== undefined && wanted !== digest)
      throw new LayoutError("wrong_bytes", `${name}: the mirror has sent ${digest} for ${wanted}`);
    return { digest, body, mediaType };
  }

  #hold(digest: Digest, held: Held): void {
    if (this.manifests.has(digest)) return;
    this.manifests.set(digest, held);
    this.#manifestBytes += held.body.length;
    if (this.manifests.size > maxManifests || this.#manifestBytes > maxManifestBytes)
      throw new LayoutError(
        "too_large",
        `more than ${maxManifests} manifests, or ${maxManifestBytes} bytes of them: export fewer images at once`,
      );
  }

  // ---- what refers to an image --------------------------------------------------------------------------------

  /** A list of referrers stands under the tag that is made of the digest, where readers without the API look for it. */
  async #referring(remote: RemoteRepository, digest: Digest, parts: Parts, depth: number): Promise<void> {
    const { registry, repository } = remote;
    const name = digest.replace(":", "-");
    const answer = await registry.listReferrers(repository, digest, undefined);
    const listed = answer.kind === "found" ? readManifest(answer.body, mediaTypes.ociIndex) : undefined;
    if (typeof listed === "string")
      throw new LayoutError("not_given", `the referrers of ${digest} cannot be read: ${listed}`);
    const tag = parseTag(name);
    if (answer.kind === "found" && listed !== undefined && listed.children.length > 0) {
      for (const child of listed.children)
        await this.#walk(remote, { kind: "digest", digest: child.digest }, parts, depth + 1, "referrer");
      const list = makeDigest("sha256", createHash("sha256").update(answer.body).digest("hex"));
      this.#hold(list, { body: answer.body, mediaType: mediaTypes.ociIndex });
      if (tag !== undefined) this.#name(remote, tag, list, undefined);
    }
    const tags = [`${name}.sig`, `${name}.att`, `${name}.sbom`, ...(answer.kind === "found" ? [] : [name])];
    for (const each of tags.flatMap((text) => parseTag(text) ?? [])) {
      const found = await this.#walk(remote, { kind: "tag", tag: each }, parts, depth + 1, "referrer").catch(
        (error: unknown) => {
          // Some registries refuse what is not there.
          if (error instanceof LayoutError && error.code === "not_given") return undefined;
          throw error;
        },
      );
      if (found !== undefined) this.#name(remote, each, found, undefined);
    }
  }
}
