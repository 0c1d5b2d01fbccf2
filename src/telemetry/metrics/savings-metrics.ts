// What teams have had of each upstream since the start, read from the ledger on a scrape: nothing is counted twice.
import { Counter, type Registry } from "prom-client";
import type { SavingsSums } from "../../ports/datacenter/savings.ts";

/** Teams and upstreams of the configuration, and `other`. */
export interface SavingsSource {
  accounts(): Iterable<SavingsSums & { readonly team: string; readonly upstream: string }>;
}

const counters = [
  ["requests", "Reads of manifests, blobs and lists by team.", "requests"],
  ["saved_round_trips", "Reads by team that were answered without asking upstream.", "roundTripsSaved"],
  ["sent_bytes", "Body bytes sent to clients of the team.", "sentBytes"],
  [
    "fetched_bytes",
    "Body bytes received from upstream for the team. What was sent beyond them has been saved.",
    "fetchedBytes",
  ],
] as const satisfies readonly (readonly [string, string, keyof SavingsSums])[];

export function registerSavings(registry: Registry, source: SavingsSource): void {
  for (const [name, help, sum] of counters)
    new Counter({
      name: `entrepot_team_${name}_total`,
      help,
      labelNames: ["team", "upstream"],
      registers: [registry],
      collect() {
        // Those of a team or an upstream that is no longer configured go.
        this.reset();
        for (const { team, upstream, [sum]: count } of source.accounts()) this.inc({ team, upstream }, count);
      },
    });
}
