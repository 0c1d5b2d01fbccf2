// What the API says of images that are brought as files (`entrepot import`).

/** Of GET and PUT of a blob. */
export interface BlobReport {
  readonly digest: string;
  /** It is here, with all of its bytes, which have been verified. */
  readonly here: boolean;
  /** Null: it is not here. */
  readonly sizeBytes: number | null;
}

/** Of PUT of a manifest, which is served from then on. */
export interface ImportedManifest {
  readonly upstream: string;
  /** By the name it has at the upstream. */
  readonly repository: string;
  readonly digest: string;
  readonly tag: string | null;
  /** The upstream is asked for nothing (`offline`): what is evicted does not come back by itself. */
  readonly offline: boolean;
}
