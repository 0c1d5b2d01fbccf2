// undici's connector, with the time the quickest connection took. How soon a registry answers says little about how far
// away it is: checking a password takes some of them 60 ms.
import type { buildConnector } from "undici";

export class TimedConnector {
  readonly #connect: buildConnector.connector;
  readonly #now: () => number;
  #roundTrip: number | undefined;

  /** `now` in milliseconds, from any start. */
  constructor(connect: buildConnector.connector, now = () => performance.now()) {
    this.#connect = connect;
    this.#now = now;
  }

  /** Milliseconds a round trip takes at most; undefined before the first connection. */
  get roundTrip(): number | undefined {
    return this.#roundTrip;
  }

  readonly connect: buildConnector.connector = (target, callback) => {
    const began = this.#now();
    // TLS 1.3 takes a second round trip, what is older a third.
    const trips = target.protocol === "https:" ? 2 : 1;
    this.#connect(target, (...result) => {
      const took = (this.#now() - began) / trips;
      if (result[0] === null) this.#roundTrip = Math.min(this.#roundTrip ?? took, took);
      callback(...result);
    });
  };
}
