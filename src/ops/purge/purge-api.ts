// POST /api/v1/purge and /api/v1/refresh at the ops listener. Who may is decided before (access.ts), as for jobs: a change needs what
// cross-site.ts asks for, and has its line in the log (audit.ts); a dry run of a purge is asked for in the same way.
import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { type ChangeAnswer, type ChangingApi, failure, jsonAnswer, later, onlyMethods } from "../answer.ts";
import { parsedBody } from "../request-body.ts";
import type { PurgeReport, RefreshReport } from "./purge-report.ts";
import { newPurgeSchema, newRefreshSchema } from "./purge-schema.ts";

export const purgePath = "/api/v1/purge";
export const refreshPath = "/api/v1/refresh";

/**
 * `problem`: what is wrong with the reference; `pinned`: the report of what was refused, because pinned images need it. Undefined while
 * the node is not serving, or too much of this is under way. Rejects with StoreError.
 */
export interface PurgeApiOptions {
  readonly purge: (
    asked: z.infer<typeof newPurgeSchema>,
  ) => Promise<PurgeReport | { readonly problem: string } | { readonly pinned: PurgeReport } | undefined>;
  readonly refresh: (reference: string) => Promise<RefreshReport | { readonly problem: string } | undefined>;
}

/** Requests that are answered at once: each may hash or delete much. */
const maxAtOnce = 4;

export class PurgeApi implements ChangingApi {
  readonly paths: readonly string[] = [purgePath, refreshPath];
  readonly #options: PurgeApiOptions;
  #running = 0;

  constructor(options: PurgeApiOptions) {
    this.#options = options;
  }

  has(path: string): boolean {
    return path === purgePath || path === refreshPath;
  }

  /** Answers a request for one of its paths. Rejects with StoreError. */
  async answer(path: string, request: IncomingMessage): Promise<ChangeAnswer> {
    if (request.method !== "POST") return onlyMethods("POST");
    if (path === refreshPath)
      return await this.#inTurn(request, newRefreshSchema, (asked) => this.#refresh(asked));
    return await this.#inTurn(request, newPurgeSchema, (asked) => this.#purge(asked));
  }

  async #inTurn<Asked>(
    request: IncomingMessage,
    schema: z.ZodType<Asked>,
    work: (asked: Asked) => Promise<ChangeAnswer>,
  ): Promise<ChangeAnswer> {
    const read = await parsedBody(request, schema);
    if ("refused" in read) return read.refused;
    if (this.#running >= maxAtOnce) return busy;
    this.#running++;
    try {
      return await work(read.asked);
    } finally {
      this.#running--;
    }
  }

  async #purge(asked: z.infer<typeof newPurgeSchema>): Promise<ChangeAnswer> {
    const about = [asked.reference];
    const report = await this.#options.purge(asked);
    if (report === undefined) return { ...busy, about };
    if ("problem" in report) return { ...failure(400, report.problem), about };
    if ("pinned" in report) {
      const { pinnedBy } = report.pinned;
      return {
        ...failure(409, `pinned images need some of it (${pinnedBy.join(", ")}): force is not set`),
        about,
      };
    }
    return { ...jsonAnswer(200, report), about, ...(report.id === null ? { outcome: "dry_run" } : {}) };
  }

  async #refresh({ reference }: z.infer<typeof newRefreshSchema>): Promise<ChangeAnswer> {
    const about = [reference];
    const report = await this.#options.refresh(reference);
    if (report === undefined) return { ...busy, about };
    return { ...("problem" in report ? failure(400, report.problem) : jsonAnswer(200, report)), about };
  }
}

const busy = later("the node is not serving, or four such requests are under way; ask again later");
