// A trace as it can be replayed: what the far registry has to hold, and what clients ask for.

import { digestOf } from "../../fixtures/images.ts";
import { Content } from "../../system/fixtures/content.ts";
import type { FarBlob, FarManifest, FarRepository } from "../far-content.ts";
import { type BlobResource, isBlob, type Resource, type Trace, uniqueBytes } from "./trace.ts";

/** A request of the replay. */
export interface Asked {
  readonly path: string;
  readonly kind: Resource["kind"];
  /** Bytes of the answer; undefined for a ping. */
  readonly size: number | undefined;
}

export interface TraceContent {
  readonly repositories: readonly FarRepository[];
  readonly asked: readonly Asked[];
  /** What the sizes were divided by. */
  readonly scale: number;
  /** Bytes of all blobs, each once; and of all requests for one. */
  readonly uniqueBytes: number;
  readonly askedBytes: number;
}

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const layerType = "application/vnd.oci.image.layer.v1.tar";

/**
 * Makes content for it whose blobs have about `bytes` together: sizes are divided by one number, a byte at least stays.
 * `namesLayers`: manifests name what is asked for after them, where the trace knows; else nothing, which keeps them as small as
 * the blobs have become.
 */
export function contentOf(
  trace: Trace,
  bytes: number,
  { namesLayers = false }: { readonly namesLayers?: boolean } = {},
): TraceContent {
  const scale = Math.max(1, uniqueBytes(trace) / bytes);
  const blobs = new Map<number, FarBlob>();
  const repositories = new Map<number, Holding>();
  const made = new Map<Resource, Asked>();
  const contentFor = ({ content, size }: BlobResource): FarBlob => {
    const blob = blobs.get(content) ?? new Content(`trace ${content}`, scaledSize(size, scale));
    blobs.set(content, blob);
    return blob;
  };
  const make = (resource: Resource): Asked => {
    if (resource.kind === "ping") return { path: "/v2/", kind: "ping", size: undefined };
    const name = `trace/r${resource.repository}`;
    const holding = repositories.get(resource.repository) ?? new Holding(name);
    repositories.set(resource.repository, holding);
    if (resource.kind === "manifest") {
      const layers = namesLayers ? (resource.blobs ?? []).map((blob) => contentFor(blob)) : [];
      const manifest = manifestOf(name, resource.reference, layers);
      holding.add(resource.reference, manifest);
      const path = `/v2/${name}/manifests/${resource.reference}`;
      return { path, kind: "manifest", size: manifest.body.length };
    }
    const blob = contentFor(resource);
    holding.blobs.set(blob.digest, blob);
    return { path: `/v2/${name}/blobs/${blob.digest}`, kind: "blob", size: blob.size };
  };
  const asked = trace.map((resource) => {
    const known = made.get(resource) ?? make(resource);
    made.set(resource, known);
    return known;
  });
  const sum = (sizes: Iterable<number>): number => [...sizes].reduce((total, size) => total + size, 0);
  return {
    repositories: [...repositories.values()].map((holding) => holding.repository()),
    asked,
    scale,
    uniqueBytes: sum([...blobs.values()].map(({ size }) => size)),
    askedBytes: sum(asked.filter(({ kind }) => kind === "blob").map(({ size = 0 }) => size)),
  };
}

/** A repository of the far registry, while its content comes together. */
class Holding {
  readonly blobs = new Map<string, FarBlob>();
  readonly #name: string;
  readonly #manifests: FarManifest[] = [];
  readonly #tags: Record<string, string> = {};

  constructor(name: string) {
    this.#name = name;
  }

  add(tag: string, manifest: FarManifest): void {
    this.#manifests.push(manifest);
    this.#tags[tag] = manifest.digest;
  }

  repository(): FarRepository {
    return {
      name: this.#name,
      manifests: this.#manifests,
      tags: this.#tags,
      blobs: [...this.blobs.values()],
    };
  }
}

/** An image of these layers; of none where a trace does not tell which blobs are whose. */
function manifestOf(name: string, tag: string, layers: readonly FarBlob[]): FarManifest {
  const config = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    digest: digestOf(Buffer.from("{}")),
    size: 2,
  };
  const annotations = { "org.opencontainers.image.ref.name": `${name}:${tag}` };
  const described = layers.map(({ digest, size }) => ({ mediaType: layerType, digest, size }));
  const manifest = { schemaVersion: 2, mediaType, config, layers: described, annotations };
  const body = Buffer.from(JSON.stringify(manifest));
  return { digest: digestOf(body), mediaType, body };
}

/** The requests of the trace for blobs, with their sizes as they are replayed. */
export function scaled(trace: Trace, scale: number): readonly BlobResource[] {
  return trace.filter(isBlob).map((blob) => ({ ...blob, size: scaledSize(blob.size, scale) }));
}

function scaledSize(size: number, scale: number): number {
  return Math.max(1, Math.round(size / scale));
}
