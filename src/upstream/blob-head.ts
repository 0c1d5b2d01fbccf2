// Whether upstream has a blob, and how large it is: by HEAD, or by the first byte of a GET where HEAD is refused.
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import type { BlobHead } from "../ports/upstream-answer.ts";
import { cacheMarks, contentLength, contentRange, doubtOf, isRefusalStatus, isWebPage } from "./answer.ts";
import { discard } from "./body.ts";
import { type Asker, type Reply, statusOf } from "./client.ts";

/** How long a refused HEAD is remembered, in milliseconds; then HEAD is tried again. */
const rememberedFor = 10 * 60_000;

export class BlobHeads {
  readonly #upstream: string;
  readonly #clock: Clock;
  #headRefusedAt = Number.NEGATIVE_INFINITY;

  constructor(upstream: string, clock: Clock) {
    this.#upstream = upstream;
    this.#clock = clock;
  }

  /** Never downloads the blob. Rejects with UpstreamError. */
  async head(client: Asker, repository: Repository, digest: Digest): Promise<BlobHead> {
    if (this.#headIsRefused) return this.#byFirstByte(client, repository, digest);
    const endpoint = `blobs/${digest}`;
    const reply = await client.ask({ method: "HEAD", type: "blob", repository, endpoint });
    if (refusesHead(reply) || (reply.status === 200 && doubtOf(reply, digest) !== undefined)) {
      discard(reply.body);
      const answer = await this.#byFirstByte(client, repository, digest);
      if (answer.kind === "found") this.#headRefusedAt = this.#clock();
      return answer;
    }
    const refusal = await statusOf(this.#upstream, reply, [200], this.#clock());
    if (refusal !== undefined) return refusal;
    discard(reply.body);
    return { kind: "found", size: contentLength(this.#upstream, reply.headers), ...cacheMarks(reply) };
  }

  get #headIsRefused(): boolean {
    const since = this.#clock() - this.#headRefusedAt;
    return since >= 0 && since < rememberedFor;
  }

  async #byFirstByte(client: Asker, repository: Repository, digest: Digest): Promise<BlobHead> {
    const endpoint = `blobs/${digest}`;
    const headers = { range: "bytes=0-0" };
    const reply = await client.ask({
      method: "GET",
      type: "blob",
      use: "small",
      repository,
      endpoint,
      headers,
    });
    const empty = reply.status === 416 && reply.headers["content-range"] === "bytes */0";
    const refusal = await statusOf(this.#upstream, reply, empty ? [416] : [200, 206], this.#clock());
    if (refusal !== undefined) return refusal;
    // A server that ignores ranges has begun to send all of it.
    if (reply.status === 200) reply.body.destroy();
    else discard(reply.body);
    // No gateway answers with a part.
    const doubt = reply.status === 200 ? doubtOf(reply, digest) : undefined;
    const doubted = doubt !== undefined && isWebPage(reply.headers) ? { doubt } : {};
    // What is encoded on its way has another length.
    const size = empty ? 0 : doubt === undefined || "doubt" in doubted ? this.#sizeOf(reply) : undefined;
    return { kind: "found", size, ...doubted, ...cacheMarks(reply) };
  }

  #sizeOf({ status, headers }: Reply): number | undefined {
    return status === 206
      ? contentRange(this.#upstream, headers, 0).size
      : contentLength(this.#upstream, headers);
  }
}

/**
 * Refused although a GET may work: registries that answer HEAD with 401 whatever the token (ECR Public) or with 405,
 * and storages whose signed addresses are for GET only. The text of a registry's refusal comes with a GET only, too.
 */
function refusesHead({ status, sender }: Reply): boolean {
  return (
    status === 401 || status === 405 || (sender === "storage" ? status === 403 : isRefusalStatus(status))
  );
}
