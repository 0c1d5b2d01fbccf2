import perfHooks from "node:perf_hooks";
import { Registry } from "prom-client";
import t from "tap";
import { registerProcessMetrics } from "../../../src/telemetry/metrics/prometheus.ts";
import { parseExposition } from "../../fixtures/exposition.ts";

t.test(
  "what dashboards of Node processes ask for is there, and nothing that breaks the naming rules",
  async (t) => {
    const registry = new Registry();
    registerProcessMetrics(registry);
    const names = [...parseExposition(await registry.metrics()).keys()];
    const asked = [
      "nodejs_active_resources",
      "nodejs_eventloop_lag_p99_seconds",
      "nodejs_external_memory_bytes",
      "nodejs_heap_size_used_bytes",
      "nodejs_heap_space_size_used_bytes",
      "nodejs_version_info",
      "process_cpu_seconds_total",
      "process_max_fds",
      "process_open_fds",
      "process_resident_memory_bytes",
      "process_start_time_seconds",
    ];
    t.strictSame(
      asked.filter((name) => !names.includes(name)),
      [],
    );
    t.strictSame(
      names.filter((name) => /^nodejs_.*_total$|lag_min/.test(name)),
      [],
    );
  },
);

// Each collection would leave garbage that only the next big one removes.
t.test("nobody watches V8 collect garbage", (t) => {
  const { PerformanceObserver } = perfHooks;
  t.teardown(() => {
    perfHooks.PerformanceObserver = PerformanceObserver;
  });
  let watchers = 0;
  perfHooks.PerformanceObserver = class extends PerformanceObserver {
    override observe(options: Parameters<typeof PerformanceObserver.prototype.observe>[0]): void {
      watchers += 1;
      super.observe(options);
    }
  } as typeof PerformanceObserver;
  registerProcessMetrics(new Registry());
  t.equal(watchers, 0);
  t.end();
});
