// What `entrepot import` asks of the ops listener: whether a blob is here, and to take blobs and manifests. Who may is decided before
// (access.ts), as for jobs; a change needs the header that cross-site.ts asks for, since its body is no JSON, and has its line in the
// log (audit.ts).
import type { IncomingMessage } from "node:http";
import type { ImportRefusal } from "../../cache/imports/image-import.ts";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { largestManifest } from "../../oci/manifest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../oci/name.ts";
import {
  type ChangeAnswer,
  type ChangingApi,
  failure,
  jsonAnswer,
  later,
  type OpsAnswer,
  onlyMethods,
} from "../answer.ts";
import { bodyOf } from "../request-body.ts";
import type { BlobReport, ImportedManifest } from "./import-report.ts";

const root = "/api/v1/imports";
const path = new RegExp(`^${root}/(blobs|manifests)/([^/]+)$`);

/** Bodies that are taken at once: each is hashed and written by this process. */
const maxAtOnce = 4;
/** Bytes of the largest blob: 1 TiB. */
const largestBlob = 2 ** 40;

/** A manifest as it is brought, by the names the node that gave it away had for its upstream and repository. */
export interface AskedManifest {
  readonly upstream: string;
  readonly repository: Repository;
  readonly tag: Tag | undefined;
  readonly digest: Digest;
  readonly mediaType: string | undefined;
  readonly body: Buffer;
}

/** `unknown`: this node has no such upstream; `conflict`: nothing can be brought for it. For people. */
export interface ImportProblem {
  readonly refused: "unknown" | "conflict";
  readonly problem: string;
}

/** All reject with StoreError. Undefined: the node is not serving yet, or no more. */
export interface ImportApiOptions {
  readonly sizeHere: (digest: Digest) => Promise<{ readonly size: number | undefined } | undefined>;
  /** Rejects as `body` does, too. */
  readonly blob: (
    digest: Digest,
    size: number,
    body: AsyncIterable<Buffer>,
  ) => Promise<{ readonly size: number } | ImportRefusal | undefined>;
  readonly manifest: (
    asked: AskedManifest,
  ) => Promise<ImportedManifest | ImportRefusal | ImportProblem | undefined>;
}

export class ImportApi implements ChangingApi {
  readonly paths = [`${root}/blobs/DIGEST`, `${root}/manifests/DIGEST`];
  readonly #options: ImportApiOptions;
  #running = 0;

  constructor(options: ImportApiOptions) {
    this.#options = options;
  }

  has(asked: string): boolean {
    return asked.startsWith(`${root}/`);
  }

  /** Answers a request for one of its paths. Rejects with StoreError. */
  async answer(asked: string, request: IncomingMessage): Promise<ChangeAnswer> {
    const [, kind, text = ""] = path.exec(asked) ?? [];
    if (kind === undefined) return failure(404, `here are: ${this.paths.join(" ")}`);
    const digest = parseDigest(decoded(text));
    if (digest === undefined) return failure(400, "expected a digest, such as sha256: and 64 hex digits");
    const { method } = request;
    if (kind === "blobs" && (method === "GET" || method === "HEAD")) return await this.#look(digest);
    if (method !== "PUT") return onlyMethods(kind === "blobs" ? "GET, HEAD, PUT" : "PUT");
    if (this.#running >= maxAtOnce) return busy;
    this.#running++;
    try {
      return await (kind === "blobs" ? this.#blob(digest, request) : this.#manifest(digest, request));
    } finally {
      this.#running--;
    }
  }

  async #look(digest: Digest): Promise<OpsAnswer> {
    const found = await this.#options.sizeHere(digest);
    return found === undefined ? busy : blobAnswer(200, digest, found.size);
  }

  async #blob(digest: Digest, request: IncomingMessage): Promise<ChangeAnswer> {
    const size = lengthOf(request);
    if (size === undefined)
      return failure(400, "content-length is missing: it has to be the size of the blob");
    if (size > largestBlob) return failure(413, `more than ${largestBlob} bytes`);
    const about = [digest];
    const stored = await this.#options.blob(
      digest,
      size,
      // What is wrong with it is to be answered.
      request.iterator({ destroyOnReturn: false }),
    );
    if (stored === undefined) return { ...busy, about };
    if ("refused" in stored) return { ...refusalAnswer(stored), about };
    return { ...blobAnswer(201, digest, stored.size), about };
  }

  async #manifest(digest: Digest, request: IncomingMessage): Promise<ChangeAnswer> {
    const { searchParams: query } = new URL(request.url ?? "", "http://localhost");
    const upstream = query.get("upstream") ?? "";
    const repository = parseRepository(query.get("repository") ?? "");
    const tagText = query.get("tag");
    const tag = tagText === null ? undefined : parseTag(tagText);
    if (upstream === "" || repository === undefined)
      return failure(
        400,
        "?upstream= and ?repository= say where the manifest belongs: one is missing or no name",
      );
    if (tagText !== null && tag === undefined)
      return failure(400, `tag: found ${JSON.stringify(tagText.slice(0, 200))}, expected a tag`);
    const body = await bodyOf(request, largestManifest);
    if (body === "too_large") return failure(413, "a manifest of more than 4 MiB is never kept");
    if (body === "broken_off") return failure(400, "broken off");
    const mediaType = request.headers["content-type"];
    const taken = await this.#options.manifest({ upstream, repository, tag, digest, mediaType, body });
    const about = [`${upstream}/${repository}${tag === undefined ? `@${digest}` : `:${tag}`}`];
    if (taken === undefined) return { ...busy, about };
    return { ...("refused" in taken ? refusalAnswer(taken) : jsonAnswer(201, taken)), about };
  }
}

const busy = later("the node is not serving, or four bodies are being taken in; ask again later");

const statuses = { wrong: 400, incomplete: 409, conflict: 409, unknown: 404, no_room: 507 } as const;

function refusalAnswer({ refused, problem }: ImportRefusal | ImportProblem): OpsAnswer {
  return failure(statuses[refused], problem);
}

function blobAnswer(status: number, digest: Digest, size: number | undefined): OpsAnswer {
  const report: BlobReport = { digest, here: size !== undefined, sizeBytes: size ?? null };
  return jsonAnswer(status, report);
}

function lengthOf({ headers }: IncomingMessage): number | undefined {
  const { "content-length": text = "" } = headers;
  const length = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : undefined;
}

/** Some clients encode the colon. What is wrongly encoded is no digest. */
function decoded(text: string): string {
  return text.replace(/%3a/i, ":");
}
