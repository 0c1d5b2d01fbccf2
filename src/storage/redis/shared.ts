// Everything that nodes share in Redis, opened and closed together.
import type { BlockExchange } from "../../ports/block/blocks.ts";
import type { NodeSummaries } from "../../ports/datacenter/nodes.ts";
import type { NamedUpstream } from "../../ports/datacenter/upstream-id.ts";
import type { PurgeExchange } from "../../ports/purge/purges.ts";
import type { LinkStore, TagStore } from "../../ports/records.ts";
import type { Announcements, Leases, Nodes } from "../../ports/shared.ts";
import { RedisAnnouncements } from "./announcements.ts";
import { createRedisBlocks } from "./blocks.ts";
import { RedisConnection, type RedisConnectionOptions } from "./connection.ts";
import { RedisLeases } from "./leases.ts";
import { RedisLinks } from "./links.ts";
import { RedisListener } from "./listener.ts";
import { RedisNodes } from "./nodes.ts";
import { createRedisPurges } from "./purges.ts";
import { RedisSummaries } from "./summaries.ts";
import { RedisTags } from "./tags.ts";

export interface RedisSharedOptions extends RedisConnectionOptions {
  /** Origin under which other nodes reach this one; undefined when they do not. */
  readonly address: string | undefined;
  /** Milliseconds a tag record is kept after it was put: as long as it may be served, 1 s to a year. Read at every put. */
  readonly tagLifetime: () => number;
}

export interface RedisShared {
  readonly tags: TagStore;
  readonly links: LinkStore;
  readonly leases: Leases;
  readonly nodes: Nodes;
  readonly summaries: NodeSummaries;
  readonly announcements: Announcements;
  readonly purges: PurgeExchange;
  readonly blocks: BlockExchange;
  /** Whether commands can be sent. */
  readonly usable: boolean;
  /** From now on these upstreams are configured. */
  useUpstreams(upstreams: readonly NamedUpstream[]): void;
  /** Resolves when it is first known whether Redis can be used. */
  readonly settled: Promise<void>;
  /** Finds out whether Redis answers, in 0.6 s at most: a notice says it when that changes. Never rejects. */
  check(): Promise<void>;
  /** Releases the leases and closes both connections, in 0.3 s at most. */
  close(): Promise<void>;
}

/** Begins to connect and does not wait for it. Notices `shared_store` say whether Redis can be used. */
export function openRedisShared(options: RedisSharedOptions): RedisShared {
  const { notices, address, tagLifetime } = options;
  const connection = new RedisConnection(options);
  const listener = new RedisListener(options);
  const announcements = new RedisAnnouncements({ connection, listener, pause: options.pause });
  const leases = new RedisLeases({ connection, announcements, address });
  const nodes = new RedisNodes({ connection, address });
  void connection.settled.then(() => nodes.heartbeat());
  return {
    nodes,
    summaries: new RedisSummaries(connection),
    tags: new RedisTags({ connection, lifetime: tagLifetime, notices }),
    links: new RedisLinks({ connection, notices }),
    leases,
    announcements,
    purges: createRedisPurges({ connection, notices }),
    blocks: createRedisBlocks({ connection, notices }),
    settled: connection.settled,
    check: () => connection.check(),
    useUpstreams: (upstreams) => connection.keys.use(upstreams),
    get usable() {
      return connection.usable;
    },
    async close() {
      nodes.close();
      await leases.close();
      listener.close();
      connection.close();
    },
  };
}
