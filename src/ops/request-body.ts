// The body of a request that asks this listener for a change.
import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { jsonExcess } from "../oci/json-depth.ts";
import { failure, type OpsAnswer } from "./answer.ts";

/** In bytes, unless a caller says another. */
const largestBody = 1024 * 1024;
/** Milliseconds for a whole body to arrive. */
const bodyTimeout = 10_000;
/** Of the JSON in it; a push of some hundred tags has some thousand values. */
const bodyBounds = { depth: 64, values: 20_000 };

/**
 * The whole body; the rest of one above `largest` bytes, 1 MiB unless said, stays unread. One that has not come within ten seconds
 * counts as broken off.
 */
export function bodyOf(
  request: IncomingMessage,
  largest = largestBody,
): Promise<Buffer | "too_large" | "broken_off"> {
  return new Promise((resolve) => {
    if (Number(request.headers["content-length"]) > largest) {
      resolve("too_large");
      return;
    }
    const late = setTimeout(() => request.destroy(), bodyTimeout);
    request.once("close", () => clearTimeout(late));
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= largest) chunks.push(chunk);
      else {
        request.pause();
        resolve("too_large");
      }
    });
    request.once("end", () => {
      clearTimeout(late);
      resolve(Buffer.concat(chunks, length));
    });
    request.once("close", () => resolve("broken_off"));
    request.on("error", () => resolve("broken_off"));
  });
}

/** Undefined for what is no JSON, nests too deep or has too much in it to be read. */
export function jsonOf(body: Buffer): unknown {
  if (jsonExcess(body, bodyBounds) !== undefined) return undefined;
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
}

/** The JSON of the body as the schema has it, or what is to be answered where it is none. */
export async function parsedBody<Asked>(
  request: IncomingMessage,
  schema: z.ZodType<Asked>,
): Promise<{ readonly asked: Asked } | { readonly refused: OpsAnswer }> {
  const body = await bodyOf(request);
  if (body === "too_large") return { refused: failure(413, "more than 1 MiB") };
  if (body === "broken_off") return { refused: failure(400, "broken off") };
  const parsed = schema.safeParse(jsonOf(body));
  if (parsed.success) return { asked: parsed.data };
  const [issue] = parsed.error.issues;
  const where = issue?.path.length ? `${issue.path.join(".")}: ` : "";
  return { refused: failure(400, `${where}${issue?.message ?? "expected JSON"}`) };
}
