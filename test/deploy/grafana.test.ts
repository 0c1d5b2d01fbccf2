// The dashboards as files: what provisioning needs of them, and that they ask for what the mirror really writes. They
// have not been opened in a Grafana here: Debian has none.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse, stringify } from "yaml";
import { createInfluxPoints } from "../../src/telemetry/lines/influx-points.ts";
import { createMetrics } from "../../src/telemetry/metrics/prometheus.ts";
import { exportedSeries, groupedBy, metricsIn } from "../fixtures/metrics-in-use.ts";
import { sampleEvent, sampleGauges } from "../fixtures/telemetry-samples.ts";
import { attempt } from "../system/fixtures/child.ts";
import { requires } from "../system/fixtures/requires.ts";

const directory = join(import.meta.dirname, "../../deploy/grafana");

interface Target {
  readonly datasource: unknown;
  readonly refId: string;
  readonly expr?: string;
  readonly legendFormat?: string;
  readonly query?: string;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource: unknown;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
}

interface Dashboard {
  readonly id: null;
  readonly uid: string;
  readonly schemaVersion: number;
  readonly refresh: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { name: string; type: string; datasource?: unknown }[] };
}

const texts = readdirSync(join(directory, "dashboards")).map((name) => ({
  name,
  text: readFileSync(join(directory, "dashboards", name), "utf8"),
}));
const dashboards = texts.map(({ name, text }) => ({ name, dashboard: JSON.parse(text) as Dashboard }));
const of = (kind: string) => dashboards.find(({ name }) => name.includes(kind))?.dashboard as Dashboard;
const queries = ({ panels }: Dashboard): readonly Target[] => panels.flatMap(({ targets = [] }) => targets);

t.test("what provisioning needs", async (t) => {
  t.equal(dashboards.length, 2);
  for (const { name, dashboard } of dashboards) {
    t.equal(dashboard.id, null, name);
    t.match(dashboard.uid, /^entrepot-/);
    t.ok(dashboard.schemaVersion >= 36);
    t.equal(dashboard.refresh, "30s");
    const [first, ...variables] = dashboard.templating.list;
    t.match(first, { name: "datasource", type: "datasource" });
    const source = {
      type: name.includes("prometheus") ? "prometheus" : "influxdb",
      uid: "$".concat("{datasource}"),
    };
    for (const { name, datasource } of variables) t.same(datasource, source, name);
    for (const { title, datasource } of dashboard.panels) t.same(datasource, source, title);
    for (const { datasource } of queries(dashboard)) t.same(datasource, source);
  }
  for (const { name, text } of texts) t.notMatch(text, /__inputs|\$\{DS_/, name);
  const [provider] = parse(
    readFileSync(join(directory, "provisioning/dashboards/entrepot.yml"), "utf8"),
  ).providers;
  t.match(provider, { type: "file", options: { path: /^\// } });
});

t.test("the five rows, panels side by side", async (t) => {
  for (const { name, dashboard } of dashboards) {
    const rows = dashboard.panels.filter(({ type }) => type === "row").map(({ title }) => title);
    t.same(rows, ["Key Metrics", "Error", "Slow", "Request Origin", "Log details"], name);
    t.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length, "each its own id");
    const taken = new Set<string>();
    for (const { title, gridPos } of dashboard.panels) {
      t.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          if (taken.has(`${x} ${y}`)) t.fail(`${title} lies on another panel`);
          taken.add(`${x} ${y}`);
        }
    }
    for (const { title, targets = [] } of dashboard.panels)
      t.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
  }
});

t.test("Prometheus is asked for what is exported", async (t) => {
  const notifications = { endpoints: ["audit"], pending: () => 0 };
  const sums = { requests: 1, roundTripsSaved: 1, sentBytes: 1, fetchedBytes: 1 };
  const account = { team: "payments", upstream: "hub", ...sums };
  const metrics = createMetrics({
    gauges: sampleGauges(),
    upstreams: ["hub"],
    siblings: ["dc2"],
    version: "1",
    notifications,
    savings: { accounts: () => [account] },
  });
  // These two have series from the first news on.
  metrics.onNotice({ kind: "rate_limit", upstream: "hub", remaining: 5 });
  metrics.onNotice({ kind: "shared_store", store: "redis", usable: true, message: "" });
  const exported = exportedSeries(await metrics.render());
  const asked = queries(of("prometheus"));
  t.ok(asked.length > 40);
  for (const { expr = "", legendFormat = "" } of asked) {
    const used = metricsIn(expr);
    t.ok(used.length > 0, expr);
    const there = new Set(["le", ...used.flatMap(({ name }) => [...(exported.get(name) ?? [])])]);
    const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label);
    for (const label of [...groupedBy(expr), ...shown]) t.ok(there.has(label), `${label} is on something`);
    for (const { name, labels } of used) {
      t.ok(exported.has(name), `${name} is exported`);
      for (const label of labels) t.ok(exported.get(name)?.has(label), `${name} has ${label}`);
    }
    const ranges = [...expr.matchAll(/\[([^\]]+)\]/g)].map(([, range]) => range);
    t.ok(
      ranges.every((range) => /^(?:\$__rate_interval|\$__range|1h)$/.test(range ?? "")),
      expr,
    );
  }
});

t.test("promtool understands every query", async (t) => {
  if (!requires(t, "promtool")) return;
  const rules = queries(of("prometheus")).map(({ expr = "" }, i) => ({
    record: `dashboard:query_${i}:value`,
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$__range", "1h"),
  }));
  const path = join(t.testdir(), "rules.yml");
  writeFileSync(path, stringify({ groups: [{ name: "dashboard", rules }] }));
  const { code, output } = await attempt("promtool", ["check", "rules", path]);
  t.equal(code, 0, output);
});

t.test("InfluxDB is asked for what is written", async (t) => {
  const written = new Map<string, Set<string>>();
  const points = createInfluxPoints({ node: "m1" });
  const requests = points.ofRequest({
    ...sampleEvent(),
    result: "miss",
    abortedBy: "client",
    forwardedFor: "192.0.2.1",
    traceId: "0af7651916cd43dd8448eb211c80319c",
    upstream: "hub",
    upstreamStatus: 200,
    detail: "a reason",
  });
  const jobs = points.ofNotice({
    ...{ kind: "sync_job", job: "0a1b", origin: "schedule", image: "team/app:1", result: "failed" },
    ...{
      from: { upstream: "hub", repository: "team/app" },
      bytes: 1,
      durationMs: 1,
      retries: 1,
      reason: "x",
    },
  });
  for (const line of [...requests, ...jobs]) {
    const [, measurement = "", rest = ""] = /^([^,]+),(.*)\n$/.exec(line) ?? [];
    written.set(measurement, new Set([...rest.matchAll(/(?:^|[, ])(\w+)=/g)].map(([, key = ""]) => key)));
  }
  t.same([...written.keys()].sort(), ["registry_access", "request_origin", "sync_job"]);
  const asked = queries(of("influxdb"));
  t.ok(asked.length > 25);
  for (const { query = "" } of asked) {
    const measurement = /FROM "(\w+)"/.exec(query)?.[1] ?? "";
    const known = written.get(measurement);
    t.ok(known, query);
    t.ok(query.includes("$timeFilter"), query);
    const named = [...query.matchAll(/(AS |FROM )?"(\w+)"/g)].filter(([, before]) => before === undefined);
    for (const [, , key = ""] of named) t.ok(known?.has(key), `${measurement} has ${key}`);
  }
});
