// Rules and alerts as Prometheus reads them, and the proof that they speak of what the mirror exports.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { createMetrics } from "../../src/telemetry/metrics/prometheus.ts";
import { exportedSeries, groupedBy, metricsIn } from "../fixtures/metrics-in-use.ts";
import { sampleGauges } from "../fixtures/telemetry-samples.ts";
import { attempt } from "../system/fixtures/child.ts";
import { requires } from "../system/fixtures/requires.ts";

const directory = join(import.meta.dirname, "../../deploy/prometheus");
const path = (name: string) => join(directory, name);
const read = (name: string) => parse(readFileSync(path(name), "utf8"));

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: { readonly severity?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

const rulesOf = (name: string): readonly Rule[] =>
  read(name).groups.flatMap(({ rules }: { rules: readonly Rule[] }) => rules);
const alerts = rulesOf("alerts.yml");
const recorded = rulesOf("recording.yml");

t.test("promtool", async (t) => {
  if (!requires(t, "promtool")) return;
  const config = await attempt("promtool", ["check", "config", path("prometheus.yml")]);
  t.equal(config.code, 0, config.output);
  const rules = await attempt("promtool", ["test", "rules", path("alerts.test.yml")]);
  t.equal(rules.code, 0, rules.output);
});

t.test("every alert is tested to fire and to keep quiet, and explained", async (t) => {
  const runbook = readFileSync(join(import.meta.dirname, "../../docs/runbook.md"), "utf8");
  const tested: readonly string[] = read("alerts.test.yml").tests.map(({ name }: { name: string }) => name);
  t.ok(alerts.length >= 10);
  for (const { alert = "", labels, annotations } of alerts) {
    t.ok(tested.includes(`${alert} fires`) && tested.includes(`${alert} quiet`), alert);
    t.match(labels?.severity, /^(?:critical|warning)$/);
    t.ok(annotations?.summary && annotations.description, alert);
    t.ok(annotations?.runbook_url?.endsWith(`/docs/runbook.md#${alert.toLowerCase()}`), alert);
    t.ok(runbook.includes(`\n## ${alert}\n`), alert);
  }
  t.equal(tested.length, 2 * alerts.length, "no test of an alert that is gone");
});

t.test("Redis and S3 page nobody: pulls go on without them", async (t) => {
  const shared = alerts.filter(
    ({ expr }) => expr.includes("shared_store") || expr.includes("uploads_pending"),
  );
  t.equal(shared.length, 2);
  for (const { labels } of shared) t.equal(labels?.severity, "warning");
});

t.test("rules and alerts name what is exported, with labels it has", async (t) => {
  const metrics = createMetrics({
    gauges: sampleGauges(),
    upstreams: ["hub"],
    siblings: ["dc2"],
    version: "1",
    notifications: { endpoints: ["audit"], pending: () => 0 },
  });
  const exported = exportedSeries(await metrics.render());
  const names = new Set(recorded.map(({ record }) => record));
  for (const { alert, record, expr } of [...alerts, ...recorded]) {
    const used = metricsIn(expr);
    t.ok(used.length > 0, `${alert ?? record} asks for something`);
    const there = new Set(["le", ...used.flatMap(({ name }) => [...(exported.get(name) ?? ["job"])])]);
    for (const label of groupedBy(expr))
      t.ok(there.has(label), `${alert ?? record}: ${label} is on something`);
    for (const { name, labels } of used) {
      if (name === "up" || names.has(name)) continue;
      const known = exported.get(name);
      t.ok(known, `${alert ?? record}: ${name} is exported`);
      for (const label of labels) t.ok(known?.has(label), `${alert ?? record}: ${name} has ${label}`);
    }
  }
});
