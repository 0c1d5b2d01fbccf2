// What clients asked a registry for, in its order: made up (made-trace.ts) or read from a file (trace-file.ts).

/** A URI of the trace. Each is one object, however often it is asked for. */
export type Resource = Ping | ManifestResource | BlobResource;

/** `/v2/`. */
export interface Ping {
  readonly kind: "ping";
}

export interface ManifestResource {
  readonly kind: "manifest";
  readonly repository: number;
  readonly reference: string;
  /** What is asked for after it, where that is known. */
  readonly blobs?: readonly BlobResource[];
}

export interface BlobResource {
  readonly kind: "blob";
  readonly repository: number;
  /** Says which content it is; several repositories may have the same. */
  readonly content: number;
  /** Bytes. */
  readonly size: number;
}

/** In the order they were asked for. */
export type Trace = readonly Resource[];

export const ping: Ping = { kind: "ping" };

export function isBlob(resource: Resource): resource is BlobResource {
  return resource.kind === "blob";
}

export function isManifest(resource: Resource): resource is ManifestResource {
  return resource.kind === "manifest";
}

/** Bytes of all contents, each once. */
export function uniqueBytes(trace: Trace): number {
  const sizes = new Map(trace.filter(isBlob).map(({ content, size }) => [content, size]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}
