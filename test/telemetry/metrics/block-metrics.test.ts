import { Registry } from "prom-client";
import t from "tap";
import { createBlockMetrics } from "../../../src/telemetry/metrics/block-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

t.test("refusals are counted by why", async (t) => {
  const registry = new Registry();
  const sink = createBlockMetrics(registry);
  const count = async (because: string) =>
    sampleOf(parseExposition(await registry.metrics()), "entrepot_block_refusals_total", { because });
  t.equal(await count("part"), 0);
  sink({ kind: "block_refusal", upstream: "hub", as: "blob", digest: "sha256:x", because: "part" });
  sink({ kind: "secret_problem", upstream: "hub", message: "" });
  t.equal(await count("part"), 1);
  t.equal(await count("itself"), 0);
});
