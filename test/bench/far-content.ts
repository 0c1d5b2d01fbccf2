// What the far registry of the bench holds. All of it is made by us and says nothing.
import type { Image } from "../fixtures/images.ts";

/** Bytes made on demand; `Content` of the system tests is one. */
export interface FarBlob {
  readonly digest: string;
  readonly size: number;
  chunks(offset: number): Iterable<Buffer>;
}

export interface FarManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly body: Buffer;
}

export interface FarRepository {
  readonly name: string;
  /** Each manifest is reachable by its digest. */
  readonly manifests: readonly FarManifest[];
  /** Name to digest. */
  readonly tags: Readonly<Record<string, string>>;
  readonly blobs: readonly FarBlob[];
}

/** One repository with one image, whose layers may be empty, and further blobs beside it. */
export function repositoryOf(
  name: string,
  tag: string,
  image: Image,
  blobs: readonly FarBlob[] = [],
): FarRepository {
  const { digest, mediaType, manifest: body } = image;
  const own = [image.config, ...image.layers].map((content) => ({
    digest: content.digest,
    size: content.bytes.length,
    chunks: (offset: number) => [content.bytes.subarray(offset)],
  }));
  return {
    name,
    manifests: [{ digest, mediaType, body }],
    tags: { [tag]: digest },
    blobs: [...own, ...blobs],
  };
}
