// Metrics of the mirrors of other datacenters, from the notices about them.
import { Counter, type Registry } from "prom-client";
import { type NoticeSink, siblingResults } from "../../ports/event.ts";
import { amount, closedList } from "./label.ts";

/** Registers them for the configured siblings and returns their sink; any other name counts as `other`. */
export function createSiblingMetrics(registry: Registry, siblings: readonly string[]): NoticeSink {
  const registers = [registry];
  const requests = new Counter({
    name: "entrepot_sibling_requests_total",
    help: "Questions to mirrors of other datacenters before the registry: hit: it had it; miss: it had not; failed: no answer, or it broke off; slow: given up in the middle; wrong: bytes of another digest.",
    labelNames: ["sibling", "result"],
    registers,
  });
  const received = new Counter({
    name: "entrepot_sibling_received_bytes_total",
    help: "Body bytes received from mirrors of other datacenters: what the registry did not have to send.",
    labelNames: ["sibling"],
    registers,
  });
  for (const sibling of siblings) {
    received.inc({ sibling }, 0);
    for (const result of siblingResults) requests.inc({ sibling, result }, 0);
  }
  const label = closedList([...siblings, "other"], "other");
  return (notice) => {
    if (notice.kind === "sibling") requests.inc({ sibling: label(notice.sibling), result: notice.result });
    else if (notice.kind === "sibling_bytes")
      received.inc({ sibling: label(notice.sibling) }, amount(notice.bytes));
  };
}
