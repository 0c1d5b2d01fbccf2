// What the nodes of the datacenter say of themselves, in Redis: a hash by name and address of the node, each value the time
// it was said and the summary as JSON. The time is Redis's, so the nodes' clocks do not matter. What a node said stays for a
// day after it has gone, so that a node which starts knows who is missing; at most 64, those who said something last.
import type { HeardSummary, NodeSummaries, NodeSummary } from "../../ports/datacenter/nodes.ts";
import { readHeard } from "../../ports/datacenter/summary-schema.ts";
import type { RedisConnection } from "./connection.ts";

/** Milliseconds. */
const lifetime = 86_400_000;

export class RedisSummaries implements NodeSummaries {
  readonly #connection: RedisConnection;

  constructor(connection: RedisConnection) {
    this.#connection = connection;
  }

  async exchange(own: NodeSummary): Promise<readonly HeardSummary[]> {
    const connection = this.#connection;
    const id = JSON.stringify([own.name, own.address]);
    const said = await connection.run("tell of this node", (client) =>
      client.shareSummary(connection.keys.summaries, id, JSON.stringify(own), lifetime),
    );
    const pairs: [number, string][] = [];
    for (let at = 0; at + 1 < said.length; at += 2) pairs.push([Number(said[at]), said[at + 1] ?? ""]);
    return readHeard(pairs.filter(([age]) => Number.isFinite(age)));
  }
}
