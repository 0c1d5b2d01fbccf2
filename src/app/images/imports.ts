// Images that are brought as files (`entrepot import`): which upstream of this node they belong to.
import { ImageImport } from "../../cache/imports/image-import.ts";
import type { Config } from "../../config/config.ts";
import { inLibrary } from "../../oci/name.ts";
import { type AskedManifest, ImportApi, type ImportApiOptions } from "../../ops/imports/import-api.ts";
import type { Policy } from "../policy.ts";
import type { SharedParts } from "../sharing.ts";

export interface ImportsParts {
  readonly policy: Policy;
  readonly shared: Pick<SharedParts, "sharing">;
}

export class Imports {
  readonly api: ImportApi;
  readonly #config: () => Config;
  #import: ImageImport | undefined;

  /** `config`: that of now. */
  constructor(config: () => Config) {
    this.#config = config;
    this.api = new ImportApi({
      sizeHere: async (digest) => this.#import && { size: await this.#import.sizeHere(digest) },
      blob: async (...brought) => await this.#import?.blob(...brought),
      manifest: (asked) => this.#manifest(asked),
    });
  }

  attach({ policy, shared }: ImportsParts): void {
    const { blobs } = shared.sharing;
    this.#import = new ImageImport({ ...policy, ...(blobs === undefined ? {} : { shared: blobs }) });
  }

  /** Takes nothing any more. */
  stop(): void {
    this.#import = undefined;
  }

  async #manifest({
    upstream: name,
    repository: written,
    tag,
    ...manifest
  }: AskedManifest): ReturnType<ImportApiOptions["manifest"]> {
    const { upstreams } = this.#config();
    const upstream = upstreams.find((each) => each.name === name);
    if (upstream === undefined) {
      const names = upstreams.map((each) => each.name).join(", ");
      return {
        refused: "unknown",
        problem: `this mirror has no upstream ${JSON.stringify(name.slice(0, 100))}; it has ${names}`,
      };
    }
    if (upstream.access === "passthrough")
      return {
        refused: "conflict",
        problem: `upstream ${name} says itself who may read (access: passthrough): nobody could be given what is brought`,
      };
    const repository = inLibrary(written, upstream.library);
    if (repository === undefined)
      return { refused: "conflict", problem: "the repository's name is too long" };
    const refused = await this.#import?.manifest({ ...manifest, scope: { upstream: name, repository }, tag });
    if (refused !== undefined) return refused;
    if (this.#import === undefined) return undefined;
    return {
      upstream: name,
      repository,
      digest: manifest.digest,
      tag: tag ?? null,
      offline: upstream.offline === true,
    };
  }
}
