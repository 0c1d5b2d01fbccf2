// Jobs in the API of the ops listener: POST /api/v1/jobs begins one, GET tells of all or of one, DELETE ends one. Who may is
// decided before (access.ts), as for all that is not health, metrics or a webhook; without a password or a token that is this
// machine alone. A change needs what cross-site.ts asks for, and has its line in the log (audit.ts).
import type { IncomingMessage } from "node:http";
import { type ChangeAnswer, type ChangingApi, failure, jsonAnswer, later, onlyMethods } from "../answer.ts";
import { parsedBody } from "../request-body.ts";
import { usualDays } from "../stats/readiness.ts";
import type { JobReport, JobSummary } from "./job-report.ts";
import { newJobSchema } from "./job-schema.ts";
import type { JobSettings } from "./jobs.ts";

export const jobsPath = "/api/v1/jobs";

/** References that are named in the log. */
const maxTold = 10;

export interface JobsApiOptions {
  readonly jobs: {
    list(): readonly JobSummary[];
    get(id: string): JobReport | undefined;
    cancel(id: string): boolean;
  };
  /** Begins a job; undefined when too many wait, or the node is not serving yet or no more. */
  readonly begin: (asked: AskedImages, settings: JobSettings) => Promise<BegunJob | undefined>;
}

/** References, or what the clients of another node have pulled from it. */
export type AskedImages =
  | { readonly images: readonly string[] }
  | { readonly fromNode: string; readonly days: number };

/** `problem`: what was asked for cannot be; `unanswered`: it can be, and another node does not say what it is. */
export type BegunJob =
  | { readonly id: string }
  | { readonly problem: string }
  | { readonly unanswered: string };

export class JobsApi implements ChangingApi {
  readonly #options: JobsApiOptions;

  readonly paths = [jobsPath, `${jobsPath}/ID`];

  constructor(options: JobsApiOptions) {
    this.#options = options;
  }

  has(path: string): boolean {
    return path === jobsPath || path.startsWith(`${jobsPath}/`);
  }

  /** Answers a request for one of its paths. */
  async answer(path: string, request: IncomingMessage): Promise<ChangeAnswer> {
    const { method = "" } = request;
    const reads = method === "GET" || method === "HEAD";
    if (path === jobsPath) {
      if (reads) return jsonAnswer(200, { jobs: this.#options.jobs.list() });
      return method === "POST" ? await this.#begin(request) : onlyMethods("GET, HEAD, POST");
    }
    const id = path.slice(jobsPath.length + 1);
    if (!reads && method !== "DELETE") return onlyMethods("GET, HEAD, DELETE");
    if (method === "DELETE" && !this.#options.jobs.cancel(id)) return unknownJob;
    const job = this.#options.jobs.get(id);
    return job === undefined ? unknownJob : jsonAnswer(200, job);
  }

  async #begin(request: IncomingMessage): Promise<ChangeAnswer> {
    const read = await parsedBody(request, newJobSchema);
    if ("refused" in read) return read.refused;
    const { images = [], fromNode, days = usualDays, platforms, bytesPerSecond } = read.asked;
    const asked = fromNode === undefined ? { images } : { fromNode, days };
    const begun = await this.#options.begin(asked, { origin: "request", platforms, bytesPerSecond });
    if (begun === undefined) return later("too many jobs wait, or the node is not serving; ask again later");
    if ("problem" in begun) return failure(400, begun.problem);
    if ("unanswered" in begun) return later(begun.unanswered);
    const job = this.#options.jobs.get(begun.id);
    return {
      ...jsonAnswer(201, job ?? {}),
      headers: { location: `${jobsPath}/${begun.id}` },
      about: fromNode === undefined ? images.slice(0, maxTold) : [`node ${fromNode}`],
    };
  }
}

const unknownJob = failure(404, "there is no such job: it was forgotten, or the node has been started again");
