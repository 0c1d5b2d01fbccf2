// Blocked digests in Redis.
import {
  type BlockCommand,
  type BlockExchange,
  keptBlockIds,
  readBlock,
  writeBlock,
} from "../../ports/block/blocks.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { RedisConnection } from "./connection.ts";
import { RedisEntries } from "./entries.ts";

export interface RedisBlocksOptions {
  readonly connection: RedisConnection;
  readonly notices: NoticeSink;
}

/** See RedisEntries. */
export function createRedisBlocks(options: RedisBlocksOptions): BlockExchange {
  return new RedisEntries<BlockCommand>({
    ...options,
    key: (keys) => keys.blocks,
    name: "blocks",
    kept: keptBlockIds,
    write: writeBlock,
    read: readBlock,
  });
}
