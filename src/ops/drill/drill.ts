// The drill that is on: which clients are answered as if every upstream were dead. It is in memory alone and ends by itself; a
// node that is started again takes part once another one tells it of the drill, and where there is no other one it is over.
import type { Clock } from "../../ports/clock.ts";
import { type DrillRecord, longestDrill } from "../../ports/datacenter/drill.ts";
import { Networks } from "../../ports/networks.ts";

export interface DrillOptions {
  /** Of this node. */
  readonly node: string;
  /** The time of day, and a clock that only goes forward, by which a drill ends. */
  readonly clock: Clock;
  readonly steady: Clock;
  /** Is told of a drill that begins or is ended, here or by another node. */
  readonly changed: (record: DrillRecord) => void;
}

export class Drill {
  readonly #options: DrillOptions;
  #record: DrillRecord | undefined;
  /** Undefined while no drill is on. */
  #clients: Networks | undefined;
  /** By the steady clock. */
  #until = 0;

  constructor(options: DrillOptions) {
    this.#options = options;
  }

  /** Whether upstreams count as away for the client with this address. */
  covers(address: string): boolean {
    return this.#clients !== undefined && this.isOn && this.#clients.has(address);
  }

  get isOn(): boolean {
    if (this.#clients === undefined) return false;
    if (this.#options.steady() < this.#until) return true;
    this.#clients = undefined;
    return false;
  }

  /** The drill that is on; undefined while none is. */
  get state(): DrillRecord | undefined {
    return this.isOn ? this.#record : undefined;
  }

  /** What other nodes are told: also of one that was ended, for as long as it would have lasted. */
  get told(): DrillRecord | undefined {
    const record = this.#record;
    return record !== undefined && record.endsAt > this.#options.clock() ? record : undefined;
  }

  /**
   * In place of one that is on. `clients`: addresses and CIDR networks; `duration`: milliseconds, an hour at most. Throws the
   * system's error for what is no network.
   */
  start(clients: readonly string[], duration: number): DrillRecord {
    const { node, clock } = this.#options;
    const startedAt = clock();
    const endsAt = startedAt + Math.min(duration, longestDrill);
    const changedAt = this.#after(startedAt);
    const record: DrillRecord = { clients, startedAt, endsAt, changedAt, node };
    this.#take(record);
    return record;
  }

  /** Ends it on all nodes. False when none is on. */
  stop(): boolean {
    if (!this.isOn || this.#record === undefined) return false;
    const { node, clock } = this.#options;
    this.#take({ ...this.#record, clients: [], changedAt: this.#after(clock()), node });
    return true;
  }

  /** What another node knows of. Of what is no drill nothing comes. */
  heard(record: DrillRecord): void {
    const known = this.#record?.changedAt ?? 0;
    if (record.changedAt <= known || record.endsAt <= this.#options.clock()) return;
    try {
      this.#take(record);
    } catch {
      // It names what is no network here.
    }
  }

  /** Later than what is known, also where that came from a node whose clock is ahead. */
  #after(now: number): number {
    return Math.max(now, (this.#record?.changedAt ?? 0) + 1);
  }

  #take(record: DrillRecord): void {
    const { clock, steady, changed } = this.#options;
    const clients = record.clients.length === 0 ? undefined : new Networks(record.clients);
    // Another node's clock may be wrong.
    this.#until = steady() + Math.min(record.endsAt - clock(), longestDrill);
    this.#clients = clients;
    this.#record = record;
    changed(record);
  }
}
