// Leases in Redis: a key that expires after seconds unless its holder renews it, and that only its holder deletes.
import { randomUUID } from "node:crypto";
import type { Announcements, Lease, Leases } from "../../ports/shared.ts";
import type { RedisConnection } from "./connection.ts";

/** Milliseconds after which the lease of a holder that died is free. */
const defaultLifetime = 4_000;
/** Renewals are this share of a lifetime apart: two in a row may fail. */
const renewalShare = 1 / 3;

export interface RedisLeasesOptions {
  readonly connection: RedisConnection;
  /** Announce that a lease is released, so that nodes waiting for it need not poll. */
  readonly announcements: Announcements;
  /** Origin under which other nodes reach this one; undefined when they do not. */
  readonly address: string | undefined;
  /** Milliseconds; left out: 4 s. */
  readonly lifetime?: number;
}

/** `acquire` rejects with StoreError `unavailable` in bounded time. */
export class RedisLeases implements Leases {
  readonly #options: RedisLeasesOptions;
  readonly #lifetime: number;
  /** By the value of the key. */
  readonly #held = new Map<string, HeldLease>();

  constructor(options: RedisLeasesOptions) {
    this.#options = options;
    this.#lifetime = options.lifetime ?? defaultLifetime;
  }

  async acquire(key: string): Promise<{ readonly lease: Lease } | { readonly heldBy: string | undefined }> {
    const { connection, address } = this.#options;
    const place = connection.keys.lease(key);
    const value = `${randomUUID()} ${address ?? ""}`;
    const askedAt = performance.now();
    const holder = await connection.run("acquire a lease", (client) =>
      client.takeLease(place, value, this.#lifetime),
    );
    if (holder === null) return { lease: this.#hold(key, place, value, askedAt) };
    const heldBy = addressIn(holder);
    if (heldBy === undefined || heldBy !== address) return { heldBy };
    const mine = this.#held.get(holder);
    if (mine !== undefined) return { lease: { lost: mine.lost, release: async () => {} } };
    // Acquired by this node before it was killed, or the answer was lost: it is taken over.
    const keptAt = performance.now();
    const kept = await this.#commands(place, holder).keep();
    return kept ? { lease: this.#hold(key, place, holder, keptAt) } : { heldBy: undefined };
  }

  #hold(key: string, place: string, value: string, askedAt: number): Lease {
    const { announcements } = this.#options;
    const ended = (dropped: boolean): void => {
      this.#held.delete(value);
      if (dropped) void announcements.publish({ kind: "released", key });
    };
    const { keep, drop } = this.#commands(place, value);
    const lease = new HeldLease({ lifetime: this.#lifetime, askedAt, keep, drop, ended });
    this.#held.set(value, lease);
    return lease;
  }

  /** Releases all leases held, in 0.2 s at most. */
  async close(): Promise<void> {
    await Promise.all([...this.#held.values()].map((lease) => lease.release()));
  }

  #commands(place: string, value: string): Pick<HeldLeaseOptions, "keep" | "drop"> {
    const { connection } = this.#options;
    return {
      keep: async () => {
        const kept = await connection.run("prolong a lease", (client) =>
          client.keepLease(place, value, this.#lifetime),
        );
        return kept === 1;
      },
      drop: async () => {
        const dropped = await connection.run("give back a lease", (client) => client.dropLease(place, value));
        return dropped === 1;
      },
    };
  }
}

interface HeldLeaseOptions {
  /** Milliseconds. */
  readonly lifetime: number;
  /** When it was asked for, on a monotonic clock: it ends a lifetime later at the latest. */
  readonly askedAt: number;
  /** Renews it; false when it is no longer held. Rejects when Redis does not answer. */
  readonly keep: () => Promise<boolean>;
  readonly drop: () => Promise<boolean>;
  readonly ended: (dropped: boolean) => void;
}

class HeldLease implements Lease {
  readonly #options: HeldLeaseOptions;
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #keptAt: number;
  #released: Promise<void> | undefined;

  constructor(options: HeldLeaseOptions) {
    this.#options = options;
    this.#keptAt = options.askedAt;
    this.#timer = setInterval(() => void this.#keep(), options.lifetime * renewalShare).unref();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    clearInterval(this.#timer);
    const dropped = !this.lost.aborted && (await this.#options.drop().catch(() => false));
    this.#options.ended(dropped);
  }

  async #keep(): Promise<void> {
    const askedAt = performance.now();
    const { keep, lifetime } = this.#options;
    const kept = await keep().catch(() => undefined);
    if (this.#released !== undefined) return;
    if (kept === true) this.#keptAt = askedAt;
    // Without an answer it is held for as long as Redis keeps it without a renewal.
    if (kept === false || performance.now() - this.#keptAt >= lifetime) this.#lose();
  }

  #lose(): void {
    clearInterval(this.#timer);
    this.#lost.abort();
    this.#options.ended(false);
  }
}

/** The node's address in the value of a lease. Undefined unless it is an origin: other programs may write to Redis. */
function addressIn(value: string): string | undefined {
  const text = value.slice(value.indexOf(" ") + 1);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.origin === text ? text : undefined;
}
