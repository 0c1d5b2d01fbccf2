// What the mirror has saved, per month, team and upstream: a sink of events and notices. An event says what was sent to a
// client, a notice what was received from upstream, and the difference did not cross the link. A download counts for the team
// of the request that has begun it, its followers' bytes for theirs.
import type { Clock } from "../../ports/clock.ts";
import type { SavingsRow, SavingsSums } from "../../ports/datacenter/savings.ts";
import type { Notice, RequestEvent, RouteKind } from "../../ports/event.ts";
import { otherRow, type SavingsStore } from "../../ports/records.ts";
import { amount } from "../metrics/label.ts";
import { type TeamRule, Teams } from "./teams.ts";

export interface LedgerSettings {
  /** The first that takes a request counts. */
  readonly teams: readonly TeamRule[];
  readonly upstreams: readonly {
    readonly name: string;
    /** Price of 10^9 bytes over the link; left out: none is known. */
    readonly pricePerGB?: number | undefined;
  }[];
}

export interface LedgerOptions extends LedgerSettings {
  readonly clock: Clock;
  /** Told what the store refuses; what was counted is kept for the next time. */
  readonly failed: (error: unknown) => void;
}

/** Counted since the start, and how much of it is in `pending` or the store. */
export interface Account extends SavingsSums {
  readonly team: string;
  readonly upstream: string;
}

interface OwnAccount extends Account {
  requests: number;
  roundTripsSaved: number;
  sentBytes: number;
  fetchedBytes: number;
  taken: SavingsSums;
}

/** Rows that wait for a store that fails; more count together as `otherRow`. */
const maxPending = 20_000;

const none: SavingsSums = { requests: 0, roundTripsSaved: 0, sentBytes: 0, fetchedBytes: 0 };

const reads: ReadonlySet<RouteKind> = new Set([
  "manifest_tag",
  "manifest_digest",
  "blob",
  "tags",
  "referrers",
]);

export class SavingsLedger {
  readonly #clock: Clock;
  readonly #failed: LedgerOptions["failed"];
  #teams = new Teams([]);
  #prices: ReadonlyMap<string, number | undefined> = new Map();
  /** By upstream, then by team. */
  #accounts: ReadonlyMap<string, ReadonlyMap<string, OwnAccount>> = new Map();
  #month = "";
  /** When that month begins and ends, in milliseconds since the epoch. */
  #begins = 0;
  #ends = 0;
  readonly #pending = new Map<string, SavingsRow>();
  #store: SavingsStore | undefined;
  /** What the store has of this month; undefined when it has to be read. */
  #stored: { readonly month: string; readonly rows: readonly SavingsRow[] } | undefined;

  constructor({ clock, failed, ...settings }: LedgerOptions) {
    this.#clock = clock;
    this.#failed = failed;
    this.#keepTime();
    this.use(settings);
  }

  /** From now on these teams, upstreams and prices count. What was counted stays with the team it was counted for. */
  use({ teams, upstreams }: LedgerSettings): void {
    this.#take();
    this.#teams = new Teams(teams);
    this.#prices = new Map(upstreams.map(({ name, pricePerGB }) => [name, pricePerGB]));
    const before = this.#accounts;
    const accountsOf = (upstream: string) =>
      new Map(
        this.#teams.names.map((team) => [team, before.get(upstream)?.get(team) ?? begun(team, upstream)]),
      );
    // An upstream that was removed may still be answering.
    const names = new Set([...this.#prices.keys(), otherRow]);
    this.#accounts = new Map([...names].map((name) => [name, accountsOf(name)]));
  }

  /** From now on the sums are kept there. */
  keepIn(store: SavingsStore): void {
    this.#store = store;
  }

  readonly onEvent = (event: RequestEvent): void => {
    const { upstream, method } = event;
    if (upstream === undefined || event.ofNode === true) return;
    if ((method !== "GET" && method !== "HEAD") || !reads.has(event.route)) return;
    const account = this.#accountOf(upstream, event.repository, event.user);
    account.requests++;
    if (savesRoundTrip(event)) account.roundTripsSaved++;
    // The text of a refusal is made here: without the mirror it would be as short, and nobody wants it.
    if (event.status < 400) account.sentBytes += amount(event.bytesSent);
  };

  readonly onNotice = (notice: Notice): void => {
    if (notice.kind !== "upstream_bytes") return;
    const { upstream, repository, user, bytes } = notice;
    this.#accountOf(upstream, repository, user).fetchedBytes += amount(bytes);
  };

  /** Counted since the start, those that are 0 too; of what a reload has removed nothing. */
  *accounts(): Iterable<Account> {
    for (const ofUpstream of this.#accounts.values()) yield* ofUpstream.values();
  }

  /** This month, of UTC. */
  get month(): string {
    this.#keepTime();
    return this.#month;
  }

  /** Of that month, or of all that are kept. Throws StoreError when the store cannot be read. */
  rows(month?: string): readonly SavingsRow[] {
    this.#take();
    const rows = new Map<string, SavingsRow>();
    for (const row of this.#read(month)) rows.set(keyOf(row), row);
    for (const [key, row] of this.#pending)
      if (month === undefined || row.month === month) rows.set(key, sumOf(rows.get(key), row));
    return [...rows.values()].sort(inOrder);
  }

  #read(month: string | undefined): readonly SavingsRow[] {
    if (this.#store === undefined) return [];
    if (month !== this.#month) return this.#store.rows(month);
    if (this.#stored?.month !== month) this.#stored = { month, rows: this.#store.rows(month) };
    return this.#stored.rows;
  }

  /** Writes what was counted since the last time; what the store does not take stays for the next. Never throws. */
  flush(): void {
    this.#take();
    if (this.#store === undefined || this.#pending.size === 0) return;
    try {
      this.#store.add([...this.#pending.values()]);
      this.#pending.clear();
      this.#stored = undefined;
    } catch (error) {
      this.#failed(error);
    }
  }

  #accountOf(upstream: string, repository: string | undefined, user: string | undefined): OwnAccount {
    this.#keepTime();
    const accounts = this.#accounts.get(upstream) ?? this.#accounts.get(otherRow);
    return accounts?.get(this.#teams.of(repository, user)) as OwnAccount;
  }

  /** Begins another month when it is time. */
  #keepTime(): void {
    const now = this.#clock();
    if (now >= this.#begins && now < this.#ends) return;
    this.#takeOf(this.#month);
    const date = new Date(now);
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
    this.#month = date.toISOString().slice(0, 7);
    this.#begins = Date.UTC(year, month);
    this.#ends = Date.UTC(year, month + 1);
  }

  #take(): void {
    this.#takeOf(this.month);
  }

  /** What was counted since the last time is of that month. */
  #takeOf(month: string): void {
    for (const ofUpstream of this.#accounts.values())
      for (const account of ofUpstream.values()) {
        const { team, upstream, taken, requests, roundTripsSaved, sentBytes, fetchedBytes } = account;
        if (requests === taken.requests && fetchedBytes === taken.fetchedBytes) continue;
        account.taken = { requests, roundTripsSaved, sentBytes, fetchedBytes };
        this.#owe({
          month,
          team,
          upstream,
          requests: requests - taken.requests,
          roundTripsSaved: roundTripsSaved - taken.roundTripsSaved,
          sentBytes: sentBytes - taken.sentBytes,
          fetchedBytes: fetchedBytes - taken.fetchedBytes,
          pricePerGB: this.#prices.get(upstream),
        });
      }
  }

  #owe(row: SavingsRow): void {
    const key = keyOf(row);
    const before = this.#pending.get(key);
    if (before === undefined && this.#pending.size >= maxPending && !isOther(row))
      this.#owe({ ...row, team: otherRow, upstream: otherRow, pricePerGB: undefined });
    else this.#pending.set(key, sumOf(before, row));
  }
}

/**
 * Whether upstream was not asked for the request: neither about the tag, nor for bytes. Who shares another's question or
 * download has asked nothing. A client that left says nothing about that: then it counts where the bytes came from.
 */
function savesRoundTrip({ result, source }: RequestEvent): boolean {
  if (result === "aborted") return source === "memory" || source === "disk" || source === "s3";
  return result === "hit" || result === "joined" || result === "negative";
}

function begun(team: string, upstream: string): OwnAccount {
  return { team, upstream, ...none, taken: none };
}

function isOther({ team, upstream }: SavingsRow): boolean {
  return team === otherRow && upstream === otherRow;
}

/** No part of it has a space in it. */
function keyOf({ month, team, upstream }: SavingsRow): string {
  return `${month} ${team} ${upstream}`;
}

function sumOf(before: SavingsRow | undefined, row: SavingsRow): SavingsRow {
  if (before === undefined) return row;
  return {
    ...row,
    requests: before.requests + row.requests,
    roundTripsSaved: before.roundTripsSaved + row.roundTripsSaved,
    sentBytes: before.sentBytes + row.sentBytes,
    fetchedBytes: before.fetchedBytes + row.fetchedBytes,
  };
}

function inOrder(a: SavingsRow, b: SavingsRow): number {
  return keyOf(a) < keyOf(b) ? -1 : 1;
}
