// Which nodes of the datacenter are alive, in Redis: a sorted set of their addresses, by when each was last heard of. The
// time is Redis's, so that no node's clock counts.
import type { Nodes } from "../../ports/shared.ts";
import type { RedisConnection } from "./connection.ts";

/** Milliseconds between two signs of life, and after the last one until a node counts as gone. */
const beat = 5_000;
const lifetime = 15_000;

export interface RedisNodesOptions {
  readonly connection: RedisConnection;
  /** Origin under which other nodes reach this one; undefined when they do not. */
  readonly address: string | undefined;
}

/** Tells of itself and hears of the others from its making on. What Redis does not answer leaves it with nobody. */
export class RedisNodes implements Nodes {
  readonly #options: RedisNodesOptions;
  readonly #timer: NodeJS.Timeout;
  #others: readonly string[] = [];

  constructor(options: RedisNodesOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.beat(), beat).unref();
  }

  others(): readonly string[] {
    return this.#others;
  }

  /** Gives a sign of life and hears of the others; never rejects. */
  async beat(): Promise<void> {
    const { connection, address } = this.#options;
    const alive = await connection
      .run("tell of this node", (client) => client.hearNodes(connection.keys.nodes, address ?? "", lifetime))
      .catch(() => []);
    this.#others = alive.filter((other) => other !== address);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
