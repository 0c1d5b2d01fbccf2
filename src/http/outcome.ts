// How a handler left a request: answered, or with a refusal that another upstream may still turn into an answer.
import type { Refusal } from "../ports/upstream-answer.ts";
import type { Exchange } from "./exchange.ts";

export type Outcome = "served" | Refusal;

/** Notes where a refusal came from. Nothing is sent: serve.ts does that when no other upstream is left. */
export function refused(exchange: Exchange, refusal: Refusal): Outcome {
  // podman and containerd show it to their users.
  if (refusal.kind === "absent" && refusal.reason !== undefined)
    exchange.always.warning = `299 - "not asked again: the upstream registry failed (${refusal.reason.code})"`;
  exchange.findings.result = refusal.kind === "denied" ? "denied" : refusal.negative ? "negative" : "miss";
  return refusal;
}
