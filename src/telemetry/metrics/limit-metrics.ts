// The metric of limits for some callers (`limits.rules`), from the notices about them.
import { Counter, type Registry } from "prom-client";
import { callerLimitResults, type NoticeSink } from "../../ports/event.ts";

/** Registers it and returns its sink. A series for each rule there has been: the names of callers are in no metric. */
export function createLimitMetrics(registry: Registry): NoticeSink {
  const limited = new Counter({
    name: "entrepot_caller_limit_requests_total",
    help: "Requests over the requests a second of a rule in limits.rules, by its number: waited for their turn, or refused.",
    labelNames: ["rule", "result"],
    registers: [registry],
  });
  for (const result of callerLimitResults) limited.inc({ rule: "1", result }, 0);
  return (notice) => {
    if (notice.kind === "caller_limit") limited.inc({ rule: String(notice.rule), result: notice.result });
  };
}
