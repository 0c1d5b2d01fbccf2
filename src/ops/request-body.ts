// The body of a request that asks this listener for a change.
import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { jsonExcess } from "../oci/json-depth.ts";
import { failure, type OpsAnswer } from "./answer.ts";

/** In bytes. */
const largestBody = 1024 * 1024;
/** Of the JSON in it; a push of some hundred tags has some thousand values. */
const bodyBounds = { depth: 64, values: 20_000 };

/** The whole body; the rest of one above 1 MiB stays unread. */
export function bodyOf(request: IncomingMessage): Promise<Buffer | "too_large" | "broken_off"> {
  return new Promise((resolve) => {
    if (Number(request.headers["content-length"]) > largestBody) {
      resolve("too_large");
      return;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= largestBody) chunks.push(chunk);
      else {
        request.pause();
        resolve("too_large");
      }
    });
    request.once("end", () => resolve(Buffer.concat(chunks, length)));
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
