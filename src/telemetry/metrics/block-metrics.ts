// The metric of what is refused because of blocked digests, from the notices about it.
import { Counter, type Registry } from "prom-client";
import { blockedBecause, type NoticeSink } from "../../ports/event.ts";

/** Registers it and returns its sink. */
export function createBlockMetrics(registry: Registry): NoticeSink {
  const refused = new Counter({
    name: "entrepot_block_refusals_total",
    help: "Manifests and blobs that were not given out because of blocked digests: blocked itself, naming one, or part of refused images alone.",
    labelNames: ["because"],
    registers: [registry],
  });
  for (const because of blockedBecause) refused.inc({ because }, 0);
  return (notice) => {
    if (notice.kind === "block_refusal") refused.inc({ because: notice.because });
  };
}
