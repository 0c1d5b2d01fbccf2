// How severe a finished request is.
import type { RequestEvent } from "../../ports/event.ts";

/**
 * 401 and 404 are everyday answers (token dance, absent referrers), and a client that leaves is no fault of ours.
 * Whoever probes hears the answer, and does so every few seconds. A body cut by upstream or by us is a failure
 * whatever the status line said.
 */
export function requestLevel({
  status,
  result,
  abortedBy,
  probe,
}: RequestEvent): "debug" | "info" | "warn" | "error" {
  if (probe !== undefined) return "debug";
  if (abortedBy === "upstream" || abortedBy === "node") return "error";
  if (abortedBy === "client" || result === "aborted") return "info";
  if (status >= 500) return "error";
  return status >= 400 && status !== 401 && status !== 404 ? "warn" : "info";
}
