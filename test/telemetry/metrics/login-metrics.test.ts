import { Registry } from "prom-client";
import t from "tap";
import { createLoginMetrics } from "../../../src/telemetry/metrics/login-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

t.test("whether the directory of users answers, once somebody has asked it", async (t) => {
  const registry = new Registry();
  const sink = createLoginMetrics(registry);
  const read = async () =>
    sampleOf(parseExposition(await registry.metrics()), "entrepot_login_directory_up", { kind: "ldap" });
  sink({ kind: "secret_problem", upstream: "hub", message: "" });
  t.equal(await read(), undefined);
  sink({ kind: "login_directory", usable: false });
  t.equal(await read(), 0);
  sink({ kind: "login_directory", usable: true });
  t.equal(await read(), 1);
});
