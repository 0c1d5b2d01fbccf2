// Pins in the API of the ops listener: GET /api/v1/pins tells of all, POST pins an image, DELETE ends that. Who may is decided as for
// jobs (jobs-api.ts).
import type { IncomingMessage } from "node:http";
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
import { longestReference } from "../stats/image-reference.ts";
import type { PinReport, PinsReport } from "./pin-report.ts";
import { newPinSchema } from "./pin-schema.ts";

export const pinsPath = "/api/v1/pins";

/**
 * Why it is not done: the reference cannot be read (`unreadable`), there is no such pin (`unknown`), it cannot be done, as when
 * it would be over the budget (`refused`), or not now (`later`). For people.
 */
export interface PinProblem {
  readonly kind: "unreadable" | "unknown" | "refused" | "later";
  readonly problem: string;
}

export interface PinsApiOptions {
  /** Undefined: the node is not serving yet, or no more. */
  readonly list: () => Promise<PinsReport | undefined>;
  /** Rejects with StoreError, as `unpin` does. */
  readonly pin: (image: string) => Promise<PinReport | PinProblem>;
  readonly unpin: (
    image: string,
  ) => Promise<{ readonly image: string; readonly stillConfigured: boolean } | PinProblem>;
}

export class PinsApi implements ChangingApi {
  readonly paths = [pinsPath];
  readonly #options: PinsApiOptions;

  constructor(options: PinsApiOptions) {
    this.#options = options;
  }

  has(path: string): boolean {
    return path === pinsPath;
  }

  /** Answers a request for its path. Rejects with StoreError. */
  async answer(_path: string, request: IncomingMessage): Promise<ChangeAnswer> {
    const { method = "", url = "" } = request;
    if (method === "GET" || method === "HEAD") {
      const report = await this.#options.list();
      return report === undefined ? notServing : jsonAnswer(200, report);
    }
    if (method === "POST") return await this.#pin(request);
    if (method !== "DELETE") return onlyMethods("GET, HEAD, POST, DELETE");
    const image = new URL(url, "http://localhost").searchParams.get("image")?.trim() ?? "";
    if (image === "" || image.length > longestReference)
      return failure(400, "?image= is missing or too long; expected one such as ?image=team/app:1.0");
    const unpinned = await this.#options.unpin(image);
    const about = [image];
    return "problem" in unpinned ? { ...answerOf(unpinned), about } : { ...jsonAnswer(200, unpinned), about };
  }

  async #pin(request: IncomingMessage): Promise<ChangeAnswer> {
    const read = await parsedBody(request, newPinSchema);
    if ("refused" in read) return read.refused;
    const { image } = read.asked;
    const pinned = await this.#options.pin(image);
    const about = [image];
    return "problem" in pinned ? { ...answerOf(pinned), about } : { ...jsonAnswer(201, pinned), about };
  }
}

const notServing = later("the node is not serving yet, or no more; ask again later");

function answerOf({ kind, problem }: PinProblem): OpsAnswer {
  if (kind === "later") return later(problem);
  return failure({ unreadable: 400, unknown: 404, refused: 409 }[kind], problem);
}
