// The open answers of one client (http/client-limits.ts) in all workers of a node together. Each worker has an equal part of
// half of them for every client, which it gives without asking. The rest the primary lends to the workers where a client
// needs more, since its connections may all have ended at one of them.

/** Places of one client, of `limit` in a node of so many workers. */
export function placesOf(
  limit: number,
  workers: number,
): { readonly own: number; readonly lendable: number } {
  // One at least as far as there are so many: then no worker depends on what others give back.
  const own = Math.max(Math.floor(limit / (2 * workers)), limit >= workers ? 1 : 0);
  return { own, lendable: limit - own * workers };
}

/** One client's. */
interface Loans<Worker> {
  readonly lent: Map<Worker, number>;
  /** In the order in which they have asked. */
  readonly asking: Set<Worker>;
}

export class LentPlaces<Worker> {
  readonly #give: (worker: Worker, network: string, places: number) => void;
  /** Of clients that have places lent, or for whom a worker asks: no more than have answers open. */
  readonly #clients = new Map<string, Loans<Worker>>();
  #lendable = 0;
  /** Places lent at once, at most. */
  #step = 1;

  /** `give` lends so many places for the client to the worker, 1 at least. */
  constructor(
    limit: number,
    workers: number,
    give: (worker: Worker, network: string, places: number) => void,
  ) {
    this.#give = give;
    this.bound(limit, workers);
  }

  /** Another limit from now on; what is lent stays. */
  bound(limit: number, workers: number): void {
    const { own, lendable } = placesOf(limit, workers);
    this.#lendable = lendable;
    this.#step = Math.max(1, own);
    for (const network of [...this.#clients.keys()]) this.#lend(network);
  }

  /** A worker needs more for the client. It is lent some, once, now or when others give theirs back. */
  ask(worker: Worker, network: string): void {
    const loans = this.#clients.get(network) ?? {
      lent: new Map<Worker, number>(),
      asking: new Set<Worker>(),
    };
    this.#clients.set(network, loans);
    loans.asking.add(worker);
    this.#lend(network);
  }

  /** A worker does not need so many any more. */
  giveBack(worker: Worker, network: string, places: number): void {
    const lent = this.#clients.get(network)?.lent;
    const left = (lent?.get(worker) ?? 0) - places;
    if (left > 0) lent?.set(worker, left);
    else lent?.delete(worker);
    this.#lend(network);
  }

  /** A worker has ended. */
  gone(worker: Worker): void {
    for (const [network, { lent, asking }] of [...this.#clients]) {
      asking.delete(worker);
      lent.delete(worker);
      this.#lend(network);
    }
  }

  #lend(network: string): void {
    const loans = this.#clients.get(network);
    if (loans === undefined) return;
    const { lent, asking } = loans;
    let left = this.#lendable;
    for (const places of lent.values()) left -= places;
    for (const worker of asking) {
      const places = Math.min(this.#step, left);
      if (places <= 0) break;
      left -= places;
      asking.delete(worker);
      lent.set(worker, (lent.get(worker) ?? 0) + places);
      this.#give(worker, network, places);
    }
    if (lent.size === 0 && asking.size === 0) this.#clients.delete(network);
  }
}
