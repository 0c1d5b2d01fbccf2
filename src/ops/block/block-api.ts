// Blocked digests in the API of the ops listener: GET /api/v1/blocks tells of all, POST blocks a digest, DELETE ends that. Who may is
// decided as for jobs (jobs-api.ts).
import type { IncomingMessage } from "node:http";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import {
  type ChangeAnswer,
  type ChangingApi,
  failure,
  jsonAnswer,
  later,
  type OpsAnswer,
  onlyMethods,
} from "../answer.ts";
import { parsedBody } from "../request-body.ts";
import type { BlockChange, BlocksReport } from "./block-report.ts";
import { newBlockSchema } from "./block-schema.ts";

export const blocksPath = "/api/v1/blocks";

/** Why it is not done: it is not blocked (`unknown`), it cannot be done (`refused`), or not now (`later`). For people. */
export interface BlockProblem {
  readonly kind: "unknown" | "refused" | "later";
  readonly problem: string;
}

export interface BlockApiOptions {
  readonly list: () => BlocksReport;
  /** In three seconds at most, whoever does not answer. */
  readonly block: (digest: Digest, reason: string) => Promise<BlockChange | BlockProblem>;
  readonly unblock: (digest: Digest) => Promise<BlockChange | BlockProblem>;
}

export class BlockApi implements ChangingApi {
  readonly paths = [blocksPath];
  readonly #options: BlockApiOptions;

  constructor(options: BlockApiOptions) {
    this.#options = options;
  }

  has(path: string): boolean {
    return path === blocksPath;
  }

  async answer(_path: string, request: IncomingMessage): Promise<ChangeAnswer> {
    const { method = "", url = "" } = request;
    if (method === "GET" || method === "HEAD") return jsonAnswer(200, this.#options.list());
    if (method === "POST") return await this.#block(request);
    if (method !== "DELETE") return onlyMethods("GET, HEAD, POST, DELETE");
    const asked = new URL(url, "http://localhost").searchParams.get("digest")?.trim() ?? "";
    const digest = parseDigest(asked);
    if (digest === undefined)
      return failure(400, "?digest= is missing or none; expected one such as ?digest=sha256:...");
    return answerOf(await this.#options.unblock(digest), digest);
  }

  async #block(request: IncomingMessage): Promise<ChangeAnswer> {
    const read = await parsedBody(request, newBlockSchema);
    if ("refused" in read) return read.refused;
    // As the schema has it.
    const digest = read.asked.digest as Digest;
    return answerOf(await this.#options.block(digest, read.asked.reason), digest);
  }
}

function answerOf(change: BlockChange | BlockProblem, digest: Digest): ChangeAnswer {
  const about = [digest];
  return "problem" in change ? { ...answerTo(change), about } : { ...jsonAnswer(200, change), about };
}

function answerTo({ kind, problem }: BlockProblem): OpsAnswer {
  if (kind === "later") return later(problem);
  return failure({ unknown: 404, refused: 409 }[kind], problem);
}
