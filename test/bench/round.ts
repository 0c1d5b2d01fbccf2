// One round of one scenario: places, directories and servers, all gone at its end, and the checks it makes.
import { isDeepStrictEqual } from "node:util";
import { type Cleanup, workDirectory } from "../system/fixtures/work-directory.ts";
import type { FarRepository } from "./far-content.ts";
import { type FarRegistry, startFarRegistry } from "./far-registry.ts";
import type { Places } from "./machine.ts";
import type { Peer } from "./peer.ts";
import type { Server } from "./server.ts";

export interface RoundOptions {
  /** Counted from 1. */
  readonly number: number;
  readonly peers: readonly Peer[];
  readonly places: Places;
}

export class Round implements Cleanup {
  readonly number: number;
  /** All peers, beginning with another one in each round, so that none always runs first. */
  readonly peers: readonly Peer[];
  readonly places: Places;
  /** Checks made so far, all of which held. */
  checks = 0;
  readonly #undo: (() => unknown)[] = [];
  #ended = false;

  constructor({ number, peers, places }: RoundOptions) {
    const first = (number - 1) % peers.length;
    this.number = number;
    this.peers = [...peers.slice(first), ...peers.slice(0, first)];
    this.places = places;
  }

  /** At the end of the round; at once when a signal has ended it, and what was starting then has started. */
  teardown(fn: () => unknown): void {
    this.#undo.push(fn);
    if (this.#ended) void this.end().catch(() => {});
  }

  /** Undoes everything, the last thing first, and goes on when something of it fails; rejects with the first failure. */
  async end(): Promise<void> {
    this.#ended = true;
    const failures: unknown[] = [];
    for (let fn = this.#undo.pop(); fn !== undefined; fn = this.#undo.pop()) {
      try {
        await fn();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** A new empty directory, removed at the end. */
  async directory(): Promise<string> {
    return await workDirectory(this);
  }

  async startFar(content: readonly FarRepository[]): Promise<FarRegistry> {
    const directory = await this.directory();
    return await this.stopping(startFarRegistry({ content, directory, place: this.places.load }));
  }

  /** A new process with an empty cache. */
  async startPeer(peer: Peer, upstream: URL, place = this.places.mirrors[0], processes = 1): Promise<Server> {
    const directory = await this.directory();
    return await this.stopping(peer.start({ upstream, directory, place, processes }));
  }

  /** Stops what is starting at the end of the round; it may be stopped before. */
  async stopping<T extends Server>(starting: Promise<T>): Promise<T> {
    const server = await starting;
    this.teardown(() => server.stop());
    return server;
  }

  /** Throws unless both are the same. */
  equal(what: string, actual: unknown, expected: unknown): void {
    if (!isDeepStrictEqual(actual, expected)) throw new Error(`${what}: ${actual}, not ${expected}`);
    this.checks += 1;
  }

  /** Throws unless `low <= actual <= high`. */
  within(what: string, actual: number, low: number, high: number): void {
    if (!(actual >= low && actual <= high)) throw new Error(`${what}: ${actual}, not ${low} to ${high}`);
    this.checks += 1;
  }
}
