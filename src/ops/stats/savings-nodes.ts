// What all nodes of the datacenter have saved: this one's ledger and those of the others.
import type { Clock } from "../../ports/clock.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import type { NodeSavings } from "../../ports/datacenter/savings.ts";
import { datacenterSavings } from "../../telemetry/savings/report.ts";
import type { DatacenterSavings } from "../../telemetry/savings/savings-document.ts";

export interface SavingsOfAllOptions {
  /** Of this node. */
  readonly name: string;
  /** This month, of UTC. */
  readonly month: () => string;
  /** Throws StoreError. */
  readonly own: (month: string) => NodeSavings;
  readonly neighbours: () => Neighbours;
  readonly clock: Clock;
}

/**
 * Of a month, or of `all` that are kept; of this month unless said. A node that has not said it within a second is named, and
 * not in the sums. Rejects with StoreError when this node's ledger cannot be read.
 */
export async function savingsOfAll(
  { name, month: thisMonth, own, neighbours, clock }: SavingsOfAllOptions,
  month = thisMonth(),
): Promise<DatacenterSavings> {
  const ledgers = [{ name, savings: own(month) }];
  const silent: string[] = [];
  const { nodes, list } = neighbours();
  const asked = list().map(async ({ name, address }) => {
    try {
      if (nodes === undefined || address === null) throw new Error("it cannot be asked");
      ledgers.push({ name, savings: await nodes.savings(address, month) });
    } catch {
      silent.push(name);
    }
  });
  await Promise.all(asked);
  return datacenterSavings(month, clock(), ledgers, silent.sort());
}
