// What all nodes of the datacenter have saved: this one's ledger and those of the others.
import type { Clock } from "../../ports/clock.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import type { NodeSavings } from "../../ports/datacenter/savings.ts";
import { datacenterSavings } from "../../telemetry/savings/report.ts";
import type { DatacenterSavings } from "../../telemetry/savings/savings-document.ts";
import { answersOfAll } from "./answers-of-all.ts";

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
  const savings = own(month);
  const { answers, silent } = await answersOfAll(neighbours(), (nodes, address) =>
    nodes.savings(address, month),
  );
  const ledgers = [{ name, savings }, ...answers.map(({ name, answer }) => ({ name, savings: answer }))];
  return datacenterSavings(month, clock(), ledgers, silent);
}
