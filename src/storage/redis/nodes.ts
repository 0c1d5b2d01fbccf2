// The nodes of the datacenter that are alive, in Redis: a sorted set of their addresses by the time of the last
// heartbeat. The time is Redis's, so the nodes' clocks do not matter.
import type { Nodes } from "../../ports/shared.ts";
import type { RedisConnection } from "./connection.ts";

/** Milliseconds between two heartbeats, and from the last one until a node counts as gone. */
const heartbeatInterval = 5_000;
const lifetime = 15_000;

export interface RedisNodesOptions {
  readonly connection: RedisConnection;
  /** Origin under which other nodes reach this one; undefined when they do not. */
  readonly address: string | undefined;
}

/** Sends heartbeats from its construction on. While Redis does not answer there are no other nodes. */
export class RedisNodes implements Nodes {
  readonly #options: RedisNodesOptions;
  readonly #timer: NodeJS.Timeout;
  #others: readonly string[] = [];

  constructor(options: RedisNodesOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.heartbeat(), heartbeatInterval).unref();
  }

  others(): readonly string[] {
    return this.#others;
  }

  /** Sends a heartbeat and learns of the other nodes; never rejects. */
  async heartbeat(): Promise<void> {
    const { connection, address } = this.#options;
    const alive = await connection
      .run("tell of this node", (client) => client.liveNodes(connection.keys.nodes, address ?? "", lifetime))
      .catch(() => []);
    this.#others = alive.filter((other) => other !== address);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
