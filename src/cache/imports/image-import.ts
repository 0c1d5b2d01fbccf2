// Images that an operator brings here as files (`entrepot import`), for sites where no registry can be asked. Bytes become a blob
// only when they have its digest, and nobody may read a blob before a manifest of a repository that names it has come as well: then
// both are linked as if upstream had shown them there, on the word of the operator.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/digest.ts";
import { type Descriptor, type Manifest, readManifest } from "../../oci/manifest.ts";
import { mediaTypes } from "../../oci/media-type.ts";
import type { Tag } from "../../oci/name.ts";
import { type BlobWriter, StoreError } from "../../ports/blobs.ts";
import type { Scope } from "../../ports/scope.ts";
import type { Access } from "../access.ts";
import type { Confirmations } from "../confirmations.ts";
import type { Sharing } from "../fill/source.ts";
import { subjectOfTag } from "../freshness.ts";
import type { Listings } from "../listings.ts";
import type { LocalBlobs } from "../local-blobs.ts";
import type { Manifests } from "../manifests.ts";
import type { NegativeAnswers } from "../negative-answers.ts";

/** Missing parts that a refusal names. */
const maxNamed = 10;

export interface ImageImportOptions {
  readonly local: LocalBlobs;
  readonly access: Pick<Access, "link">;
  readonly manifests: Pick<Manifests, "imported">;
  readonly listings: Pick<Listings, "forget" | "imported">;
  readonly negative: Pick<NegativeAnswers, "forget">;
  readonly confirmations: Pick<Confirmations, "forget">;
  /** What this node shares with others; left out: nothing. */
  readonly shared?: Sharing["blobs"];
}

/**
 * Why something is not taken, for people. `wrong`: it is not what it is said to be. `incomplete`: a manifest names what is not here.
 * `no_room`: the cache cannot have it.
 */
export interface ImportRefusal {
  readonly refused: "wrong" | "incomplete" | "no_room";
  readonly problem: string;
}

/** A manifest with where it belongs. */
export interface BroughtManifest {
  readonly scope: Scope;
  readonly digest: Digest;
  /** Left out: its body tells. */
  readonly mediaType: string | undefined;
  readonly body: Buffer;
  /** The tag that names it from now on; undefined: none. */
  readonly tag: Tag | undefined;
}

export class ImageImport {
  readonly #options: ImageImportOptions;

  constructor(options: ImageImportOptions) {
    this.#options = options;
  }

  /** Bytes of a blob or manifest that is here; undefined when it has to be brought. */
  async sizeHere(digest: Digest): Promise<number | undefined> {
    const here = await this.#options.local.open(digest, "probe");
    await here?.reader.close();
    return here?.size;
  }

  /**
   * Stores a blob of `size` bytes, read as it comes. Rejects as `body` does, with StoreError, and then nothing is stored. No right to
   * read comes of it.
   */
  async blob(
    digest: Digest,
    size: number,
    body: AsyncIterable<Buffer>,
  ): Promise<ImportRefusal | { readonly size: number }> {
    const { local, shared } = this.#options;
    const asOf = local.purged.count;
    const writer = await orNoRoom(() => local.spool(size));
    if (writer === undefined) return noRoom(digest, size);
    let committed = false;
    try {
      const refused = await written(writer, digest, size, body);
      if (refused !== undefined) return refused;
      await writer.commit(digest, size);
      committed = true;
    } catch (error) {
      if (error instanceof StoreError && error.code === "no_space") return noRoom(digest, size);
      throw error;
    } finally {
      if (!committed) await writer.abort();
      await writer.release();
    }
    if (local.purged.hasSince(digest, asOf)) {
      await local.purge(digest);
      return { refused: "incomplete", problem: `${digest} was purged while it came: bring it again` };
    }
    local.committed(digest, size, undefined);
    void shared?.publisher.publish(digest, size, undefined);
    return { size };
  }

  /**
   * Stores a manifest whose configs and layers are here, links the repository to all of them, and has the tag name it. What an index
   * names need not be here. A list of referrers under the tag that is made of its subject (distribution-spec, "Referrers Tag
   * Schema") is given as the answer of the referrers API, too. Rejects with StoreError. Undefined: done.
   */
  async manifest(brought: BroughtManifest): Promise<ImportRefusal | undefined> {
    const { scope, digest, mediaType: type, body, tag } = brought;
    const { local, shared, access, negative, confirmations, listings, manifests } = this.#options;
    if (hashOf(digest, [body]) !== digestHex(digest))
      return { refused: "wrong", problem: `the bytes of manifest ${digest} do not have this digest` };
    const manifest = readManifest(body, type);
    if (typeof manifest === "string")
      return { refused: "wrong", problem: `manifest ${digest} cannot be used: ${manifest}` };
    const missing = await this.#missing(manifest.blobs);
    if (missing !== undefined) return { refused: "incomplete", problem: `manifest ${digest} ${missing}` };
    const { mediaType } = manifest;
    if (!(await local.putManifest(digest, body, manifest)) || !local.indexed(digest))
      return noRoom(digest, body.length);
    void shared?.publisher.publish(digest, body.length, mediaType);
    const parts = manifest.blobs.map((blob) => ({ digest: blob.digest, size: blob.size }));
    await access.link(scope, [{ digest, size: body.length }, ...parts]);
    confirmations.forget(scope);
    listings.forget(scope);
    await negative.forget(scope);
    if (tag !== undefined) {
      this.#listReferrers(scope, tag, manifest, body);
      await manifests.imported(scope, tag, { digest, mediaType, size: body.length });
    }
    return undefined;
  }

  /** What is wrong with the parts, as the words behind the manifest's name; undefined: nothing. */
  async #missing(parts: readonly Descriptor[]): Promise<string | undefined> {
    const missing: Digest[] = [];
    for (const { digest, size } of parts) {
      const here = await this.sizeHere(digest);
      if (here === undefined) missing.push(digest);
      else if (size !== undefined && size !== here)
        return `states ${size} bytes for ${digest}, which has ${here}`;
    }
    if (missing.length === 0) return undefined;
    const more = missing.length > maxNamed ? ` and ${missing.length - maxNamed} more` : "";
    return `names what is not here: ${missing.slice(0, maxNamed).join(", ")}${more}`;
  }

  #listReferrers(scope: Scope, tag: Tag, { mediaType }: Manifest, body: Buffer): void {
    const subject = subjectOfTag(tag);
    if (subject !== undefined && tag === subject.replace(":", "-") && mediaType === mediaTypes.ociIndex)
      this.#options.listings.imported(scope, subject, body);
  }
}

/** Appends all of the body; what is wrong with it. Rejects as the body and the writer do. */
async function written(
  writer: BlobWriter,
  digest: Digest,
  size: number,
  body: AsyncIterable<Buffer>,
): Promise<ImportRefusal | undefined> {
  const hash = createHash(digestAlgorithm(digest));
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > size) break;
    hash.update(chunk);
    await writer.append([chunk]);
  }
  if (length !== size)
    return {
      refused: "wrong",
      problem: `${digest} was said to have ${size} bytes and ${length > size ? "has more" : `had ${length}`}`,
    };
  if (hash.digest("hex") === digestHex(digest)) return undefined;
  return { refused: "wrong", problem: `the bytes of ${digest} do not have this digest` };
}

async function orNoRoom<Made>(make: () => Promise<Made | undefined>): Promise<Made | undefined> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof StoreError && error.code === "no_space") return undefined;
    throw error;
  }
}

function noRoom(digest: Digest, size: number): ImportRefusal {
  return {
    refused: "no_room",
    problem: `there is no room for the ${size} bytes of ${digest} (cache.maxSize, the disk, or the store has failed)`,
  };
}

function hashOf(digest: Digest, chunks: readonly Buffer[]): string {
  const hash = createHash(digestAlgorithm(digest));
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}
