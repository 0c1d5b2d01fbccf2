// POST /api/v1/purge and /api/v1/refresh at the ops listener. Who may is decided before (access.ts), as for jobs: a change needs what
// cross-site.ts asks for, and has its line in the log (audit.ts); a dry run of a purge is asked for in the same way.
import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { jsonAnswer, type OpsAnswer } from "../answer.ts";
import { bodyOf, jsonOf } from "../request-body.ts";
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

/** An answer, and what of it is for the log. */
export interface PurgeAnswer extends OpsAnswer {
  readonly about?: readonly string[];
  readonly outcome?: string;
}

/** Requests that are answered at once: each may hash or delete much. */
const maxAtOnce = 4;

export class PurgeApi {
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
  async answer(path: string, request: IncomingMessage): Promise<PurgeAnswer> {
    if (request.method !== "POST") return { ...failure(405, "only POST"), headers: { allow: "POST" } };
    const body = await bodyOf(request);
    if (body === "too_large") return failure(413, "more than 1 MiB");
    if (body === "broken_off") return failure(400, "broken off");
    if (this.#running >= maxAtOnce) return busy;
    this.#running++;
    try {
      return path === purgePath ? await this.#purge(jsonOf(body)) : await this.#refresh(jsonOf(body));
    } finally {
      this.#running--;
    }
  }

  async #purge(asked: unknown): Promise<PurgeAnswer> {
    const parsed = newPurgeSchema.safeParse(asked);
    if (!parsed.success) return refused(parsed.error);
    const about = [parsed.data.reference];
    const report = await this.#options.purge(parsed.data);
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

  async #refresh(asked: unknown): Promise<PurgeAnswer> {
    const parsed = newRefreshSchema.safeParse(asked);
    if (!parsed.success) return refused(parsed.error);
    const about = [parsed.data.reference];
    const report = await this.#options.refresh(parsed.data.reference);
    if (report === undefined) return { ...busy, about };
    return { ...("problem" in report ? failure(400, report.problem) : jsonAnswer(200, report)), about };
  }
}

const busy: OpsAnswer = {
  ...failure(503, "the node is not serving, or four such requests are under way; ask again later"),
  headers: { "retry-after": "10" },
};

function refused(error: z.ZodError): OpsAnswer {
  const [issue] = error.issues;
  const where = issue?.path.length ? `${issue.path.join(".")}: ` : "";
  return failure(400, `${where}${issue?.message ?? "expected JSON"}`);
}

function failure(status: number, message: string): OpsAnswer {
  return { status, body: `${message}\n` };
}
