// Which of the other nodes has a blob or manifest, so that it need not come the long way again.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import { inTime } from "../../ports/deadline.ts";
import type { Scope } from "../../ports/scope.ts";
import type { Nodes, Peers } from "../../ports/shared.ts";

/** Milliseconds a node has to say whether it has something, and in which one that did not say is not asked again. */
const patience = 1_000;
const silence = 10_000;
/** Addresses of nodes that did not say. */
const maxSilent = 64;

export interface HoldersOptions {
  readonly nodes: Nodes;
  readonly peers: Pick<Peers, "has">;
  readonly clock: Clock;
  readonly pause: Pause;
}

export class Holders {
  readonly #options: HoldersOptions;
  readonly #silent: LRUCache<string, true>;

  constructor(options: HoldersOptions) {
    this.#options = options;
    this.#silent = new LRUCache({
      max: maxSilent,
      ttl: silence,
      ttlResolution: 0,
      perf: { now: options.clock },
    });
  }

  /**
   * The address of the first node that says it can serve it to the repository without upstream; undefined when none does, within
   * a second. All are asked at once (16 at most), but for those that were silent lately. Never rejects.
   */
  async find(scope: Scope, digest: Digest, as: "blob" | "manifest"): Promise<string | undefined> {
    const { nodes, peers, pause } = this.#options;
    const asked = nodes.others().filter((address) => !this.#silent.has(address));
    const answers = asked.map(async (address) => {
      const answer = peers.has(address, scope, digest, as);
      if (!(await inTime(answer, patience, pause))) {
        this.#silent.set(address, true);
        throw new Error("no answer");
      }
      if (!(await answer)) throw new Error("not there");
      return address;
    });
    return await Promise.any(answers).catch(() => undefined);
  }
}
