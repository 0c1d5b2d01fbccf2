// The ledger of what the mirror has saved: kept in the index, written now and then, and told.
import type { Config } from "../config/config.ts";
import type { Clock } from "../ports/clock.ts";
import type { NodeSavings } from "../ports/datacenter/savings.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { SavingsStore } from "../ports/records.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import { SavingsLedger } from "../telemetry/savings/ledger.ts";
import { nodeSavings, savingsDocument } from "../telemetry/savings/report.ts";
import type { SavingsDocument } from "../telemetry/savings/savings-document.ts";

/** Milliseconds between two writes: what a crash can forget. */
const writeInterval = 60_000;

export interface SavingsOptions {
  /** Of now. */
  readonly config: () => Pick<Config, "teams" | "upstreams" | "currency">;
  readonly clock: Clock;
  readonly notices: NoticeSink;
}

export class Savings {
  readonly ledger: SavingsLedger;
  readonly #config: SavingsOptions["config"];
  #timer: NodeJS.Timeout | undefined;

  constructor({ config, clock, notices }: SavingsOptions) {
    this.#config = config;
    this.ledger = new SavingsLedger({
      ...config(),
      clock,
      failed: (error) => notices(noticeOfStoreError("savings", error)),
    });
  }

  /** Begins to keep what is counted. */
  open(store: SavingsStore): void {
    this.ledger.keepIn(store);
    this.#timer = setInterval(() => this.ledger.flush(), writeInterval).unref();
  }

  /** Of this month. Throws StoreError. */
  document(): SavingsDocument {
    const { month } = this.ledger;
    return savingsDocument(month, this.ledger.rows(month), this.#config().currency);
  }

  /** Of a month, as 2026-11, or of `all` that are kept, as other nodes are told. Throws StoreError. */
  told(month: string): NodeSavings {
    return nodeSavings(this.ledger.rows(month === "all" ? undefined : month), this.#config().currency);
  }

  /** Writes what is left. The store must still be open. */
  close(): void {
    clearInterval(this.#timer);
    this.ledger.flush();
  }
}
