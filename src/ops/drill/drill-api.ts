// The drill in the API of the ops listener: GET /api/v1/drill tells of it, POST begins one in the place of one that is on, DELETE
// ends it. Who may, what a change needs and its line in the log are as for jobs (ops/jobs/jobs-api.ts).
import type { IncomingMessage } from "node:http";
import type { DrillAnswer } from "../../ports/datacenter/drill.ts";
import {
  type ChangeAnswer,
  type ChangingApi,
  failure,
  jsonAnswer,
  type OpsAnswer,
  onlyMethods,
} from "../answer.ts";
import { parsedBody } from "../request-body.ts";
import type { Drill } from "./drill.ts";
import { newDrillSchema } from "./drill-schema.ts";

export const drillPath = "/api/v1/drill";

export class DrillApi implements ChangingApi {
  readonly #drill: Pick<Drill, "state" | "start" | "stop">;
  readonly #changed: () => void;

  /** `changed`: the other nodes are to be told. */
  constructor(drill: Pick<Drill, "state" | "start" | "stop">, changed: () => void) {
    this.#drill = drill;
    this.#changed = changed;
  }

  readonly paths = [drillPath];

  has(path: string): boolean {
    return path === drillPath;
  }

  async answer(_path: string, request: IncomingMessage): Promise<ChangeAnswer> {
    const { method = "" } = request;
    if (method === "GET" || method === "HEAD") return this.#state(200);
    if (method === "POST") return await this.#begin(request);
    if (method !== "DELETE") return onlyMethods("GET, HEAD, POST, DELETE");
    if (!this.#drill.stop()) return failure(404, "no drill is on");
    this.#changed();
    return this.#state(200);
  }

  async #begin(request: IncomingMessage): Promise<ChangeAnswer> {
    const read = await parsedBody(request, newDrillSchema);
    if ("refused" in read) return read.refused;
    const { clients, durationMs } = read.asked;
    this.#drill.start(clients, durationMs);
    this.#changed();
    return { ...this.#state(201), about: [...clients.slice(0, 9), `${durationMs} ms`] };
  }

  #state(status: number): OpsAnswer {
    const told: DrillAnswer = { drill: this.#drill.state ?? null };
    return jsonAnswer(status, told);
  }
}
