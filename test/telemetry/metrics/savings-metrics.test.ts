import { Registry } from "prom-client";
import t from "tap";
import { registerSavings } from "../../../src/telemetry/metrics/savings-metrics.ts";

t.test("what the ledger has at the scrape, each time; what it no longer has goes", async (t) => {
  const registry = new Registry();
  const sums = { requests: 1, roundTripsSaved: 2, sentBytes: 3, fetchedBytes: 4 };
  let accounts = [
    { team: "a", upstream: "hub", ...sums },
    { team: "other", upstream: "hub", ...sums, sentBytes: 0 },
  ];
  registerSavings(registry, { accounts: () => accounts });
  const sent = async () =>
    (await registry.metrics())
      .split("\n")
      .filter((line) => line.startsWith("entrepot_team_sent_bytes_total{"));
  for (let scrape = 1; scrape <= 2; scrape++)
    t.strictSame(await sent(), [
      'entrepot_team_sent_bytes_total{team="a",upstream="hub"} 3',
      'entrepot_team_sent_bytes_total{team="other",upstream="hub"} 0',
    ]);
  accounts = [{ team: "other", upstream: "hub", ...sums, sentBytes: 10 }];
  t.strictSame(await sent(), ['entrepot_team_sent_bytes_total{team="other",upstream="hub"} 10']);
  t.match(
    await registry.metrics(),
    /entrepot_team_saved_round_trips_total\{team="other",upstream="hub"\} 2\n/,
  );
});
