// Bodies of upstream's answers to writes: small, but upstream may die in the middle of one, or never end it.
import type { IncomingMessage } from "node:http";
import { UpstreamError } from "../../ports/upstream.ts";

/** The body chunk by chunk. Rejects with UpstreamError when it breaks off or is silent for `idle` milliseconds. */
export async function* answerChunks(answer: IncomingMessage, idle: number): AsyncGenerator<Buffer> {
  let silent: NodeJS.Timeout | undefined;
  const listen = (): void => {
    silent = setTimeout(() => {
      answer.destroy(new UpstreamError("timeout", "upstream fell silent in an answer to a write"));
    }, idle);
  };
  listen();
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      // While the client takes the chunk, upstream is not waited for.
      clearTimeout(silent);
      yield chunk;
      listen();
    }
  } catch (error) {
    if (error instanceof UpstreamError) throw error;
    throw new UpstreamError("truncated", "upstream broke off in an answer to a write");
  } finally {
    clearTimeout(silent);
    answer.destroy();
  }
}

/** The whole body as text; undefined, and the rest unread, above `limit` bytes. Rejects as `answerChunks`. */
export async function answerText(
  answer: IncomingMessage,
  limit: number,
  idle: number,
): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answerChunks(answer, idle)) {
    length += chunk.length;
    if (length > limit) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length).toString("utf8");
}
