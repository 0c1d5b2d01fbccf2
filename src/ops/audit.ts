// The line in the log for each request at the ops listener that asks for a change: who, what, and what came of it.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import { isSafe } from "./cross-site.ts";

/** What is found out of such a request while it is answered. */
export interface Audited {
  /** `ops:` with the user name shown, `token`, `local`, or `webhook:` with the source; undefined: nobody who may ask. */
  who?: string | undefined;
  /** What came of it, when it is more than the status says. */
  outcome?: string | undefined;
  /** What was to change, at most 10 of it. */
  about?: readonly string[] | undefined;
}

/** Longest path that is told, in characters; what a query says may be a secret. */
const longestPath = 512;

/**
 * Writes the line once the answer is out or cut off; nothing for a request that changes nothing. `event` and the names of the other
 * fields stay as they are, for programs that read them.
 */
export function audit(
  request: IncomingMessage,
  response: ServerResponse,
  client: string,
  log: Pick<Logger, "info">,
): Audited {
  const audited: Audited = {};
  const { method = "", url = "" } = request;
  if (isSafe(method)) return audited;
  const path = (url.split("?", 1)[0] ?? "").slice(0, longestPath);
  response.once("close", () => {
    const { statusCode: status, headersSent } = response;
    const { who, outcome = outcomeOf(status), about } = audited;
    log.info(
      {
        event: "audit",
        who,
        client,
        method,
        path,
        status: headersSent ? status : undefined,
        outcome: headersSent ? outcome : "aborted",
        about,
      },
      "a change was asked for",
    );
  });
  return audited;
}

function outcomeOf(status: number): "done" | "refused" | "failed" {
  if (status < 300) return "done";
  return status === 401 || status === 403 || status === 421 || status === 429 ? "refused" : "failed";
}
