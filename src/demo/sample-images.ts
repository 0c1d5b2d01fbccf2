// The images the demo's upstream serves: real ones that docker, containerd and podman pull, unpack and run.
// Every byte follows from this file, so digests do not change from one start to the next.
import { createCipheriv, createHash, hash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { type Digest, makeDigest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import { type Architecture, greetingProgram } from "./greeting-program.ts";

export interface SampleManifest {
  readonly mediaType: string;
  readonly body: Buffer;
}

/** One repository. Blobs and manifests are reachable only through the repository that holds them. */
export interface SampleRepository {
  readonly name: string;
  readonly tags: ReadonlyMap<string, Digest>;
  readonly manifests: ReadonlyMap<Digest, SampleManifest>;
  readonly blobs: ReadonlyMap<Digest, Buffer>;
}

export interface SampleFile {
  readonly name: string;
  readonly body: Buffer;
  readonly mode?: number;
}

export interface SampleLayer {
  /** Digest of the gzip'd tar: what the manifest names. */
  readonly digest: Digest;
  /** Digest of the tar: what the config's `diff_ids` name. */
  readonly diffId: Digest;
  readonly body: Buffer;
  readonly createdBy: string;
}

interface Family {
  readonly manifest: string;
  readonly config: string;
  readonly layer: string;
}

const oci: Family = {
  manifest: mediaTypes.ociManifest,
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};
const docker: Family = {
  manifest: mediaTypes.dockerManifest,
  config: "application/vnd.docker.container.image.v1+json",
  layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

const architectures: readonly Architecture[] = ["amd64", "arm64"];
const mb = 1_000_000;

/**
 * Builds all repositories: about 34 MB in memory, well under a second. `team/app` 1.0 (about 24 MB in 4 layers)
 * shares its two base layers with 2.0; every tag of it is an index over two architectures. `busybox` is a single
 * image in Docker's own media types.
 */
export async function makeSampleImages(): Promise<readonly SampleRepository[]> {
  const system = await dataLayer("usr/lib/system.bin", 12 * mb);
  const runtime = await dataLayer("opt/runtime/runtime.bin", 8 * mb);
  const app = new RepositoryBuilder("team/app");
  for (const [version, size] of [
    ["1.0", 4 * mb],
    ["2.0", 8 * mb],
  ] as const) {
    const code = await dataLayer(`opt/app/app-${version}.bin`, size);
    app.tag(version, await appIndex(app, version, [system, runtime, code]));
  }
  app.tag("latest", app.tags.get("2.0") as Digest);
  const busybox = new RepositoryBuilder("busybox");
  const layers = [
    await dataLayer("usr/share/busybox.bin", 2 * mb),
    await greetingLayer(
      "amd64",
      "This stands in for busybox: it only proves that the image arrived whole.\n",
    ),
  ];
  busybox.tag("latest", busybox.addImage(docker, "amd64", layers).digest);
  return [app, busybox];
}

async function appIndex(
  repository: RepositoryBuilder,
  version: string,
  shared: readonly SampleLayer[],
): Promise<Digest> {
  const manifests = [];
  for (const architecture of architectures) {
    const text = `Hello from team/app:${version} on linux/${architecture}, landed by Entrepôt.\n`;
    const layers = [...shared, await greetingLayer(architecture, text)];
    const image = repository.addImage(oci, architecture, layers);
    manifests.push({ mediaType: oci.manifest, ...image, platform: { architecture, os: "linux" } });
  }
  return repository.addManifest(mediaTypes.ociIndex, {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests,
  }).digest;
}

class RepositoryBuilder implements SampleRepository {
  readonly name: string;
  readonly tags = new Map<string, Digest>();
  readonly manifests = new Map<Digest, SampleManifest>();
  readonly blobs = new Map<Digest, Buffer>();
  constructor(name: string) {
    this.name = name;
  }

  tag(name: string, digest: Digest): void {
    this.tags.set(name, digest);
  }

  addImage(family: Family, architecture: Architecture, layers: readonly SampleLayer[]) {
    const config = this.#addBlob(Buffer.from(JSON.stringify(imageConfig(architecture, layers))));
    return this.addManifest(family.manifest, {
      schemaVersion: 2,
      mediaType: family.manifest,
      config: { mediaType: family.config, ...config },
      layers: layers.map((layer) => ({ mediaType: family.layer, ...this.#addBlob(layer.body) })),
    });
  }

  addManifest(mediaType: string, content: object): { digest: Digest; size: number } {
    const body = Buffer.from(JSON.stringify(content));
    const digest = digestOf(body);
    this.manifests.set(digest, { mediaType, body });
    return { digest, size: body.length };
  }

  #addBlob(body: Buffer): { digest: Digest; size: number } {
    const digest = digestOf(body);
    this.blobs.set(digest, body);
    return { digest, size: body.length };
  }
}

function imageConfig(architecture: Architecture, layers: readonly SampleLayer[]): object {
  const created = "1970-01-01T00:00:00Z";
  return {
    created,
    architecture,
    os: "linux",
    config: { Cmd: ["/hello"], Env: ["PATH=/"], WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((layer) => ({ created, created_by: layer.createdBy })),
  };
}

/** A layer of one file whose bytes do not compress, as the contents of a real layer after gzip. */
function dataLayer(name: string, size: number): Promise<SampleLayer> {
  const key = createHash("sha256").update(name).digest().subarray(0, 16);
  const body = createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(size));
  return makeLayer([{ name, body }]);
}

/** The tiny layer on top: `/hello` prints the text that `/greeting.txt` holds. */
function greetingLayer(architecture: Architecture, text: string): Promise<SampleLayer> {
  return makeLayer([
    { name: "greeting.txt", body: Buffer.from(text) },
    { name: "hello", body: greetingProgram(architecture, text), mode: 0o755 },
  ]);
}

/** Packs `files`, owned by root and dated 1970, into one gzip'd tar. */
export async function makeLayer(files: readonly SampleFile[]): Promise<SampleLayer> {
  const archive = pack();
  for (const { name, body, mode = 0o644 } of files) {
    archive.entry({ name, mode, mtime: new Date(0), uid: 0, gid: 0 }, body);
  }
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive as AsyncIterable<Buffer>) parts.push(part);
  const tar = Buffer.concat(parts);
  // Stored, not deflated: the bytes would not shrink, and deflate's choices differ between processors.
  const body = gzipSync(tar, { level: 0 });
  body[9] = 255; // The operating system field of RFC 1952; 255 is "unknown", the same everywhere.
  return {
    digest: digestOf(body),
    diffId: digestOf(tar),
    body,
    createdBy: `COPY ${files.map((file) => file.name).join(" ")} /`,
  };
}

function digestOf(body: Buffer): Digest {
  return makeDigest("sha256", hash("sha256", body, "hex"));
}
