// What Redis does in one step: each script works on one key, so that a Cluster can run it (EVALSHA, and EVAL where a
// server does not know the script yet; ioredis sees to that).
import type { Result } from "ioredis";

/**
 * A tag record, unless a later one is there. Gives back the record that stands in the way, for the caller to judge; one
 * that equals ARGV[4] is garbage and does not. What is no record with a time is overwritten.
 * ARGV: the record, its time, milliseconds to live, what may be overwritten whatever its time.
 */
const putTag = `
local stored = redis.pcall("GET", KEYS[1])
if type(stored) == "string" and stored ~= ARGV[4] then
  local parsed, record = pcall(cjson.decode, stored)
  if parsed and type(record) == "table" and type(record.checkedAt) == "number"
    and record.checkedAt > tonumber(ARGV[2]) then
    return stored
  end
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[3])
return false`;

/** Links of one repository in Redis at most; any of them gives way: it costs a question to upstream. */
const mostLinks = 50_000;

/**
 * Digests into the set of links of a repository; what stood there instead of one is replaced.
 * ARGV: milliseconds to live, then the digests.
 */
const addLinks = `
if redis.call("TYPE", KEYS[1]).ok ~= "set" then redis.call("DEL", KEYS[1]) end
for at = 2, #ARGV do redis.call("SADD", KEYS[1], ARGV[at]) end
local over = redis.call("SCARD", KEYS[1]) - ${mostLinks}
if over > 0 then redis.call("SPOP", KEYS[1], over) end
redis.call("PEXPIRE", KEYS[1], ARGV[1])
return redis.status_reply("OK")`;

/** A size, unless there is one. ARGV: the size, milliseconds to live. */
const addSize = `
local stored = redis.pcall("GET", KEYS[1])
if type(stored) == "string" and string.find(stored, "^%d+$") then redis.call("PEXPIRE", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2]) end
return redis.status_reply("OK")`;

/** A lease, or the value of who has it. ARGV: the value, milliseconds to live. */
const takeLease = `
local held = redis.pcall("GET", KEYS[1])
if type(held) == "string" then return held end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return false`;

/** 1 when the lease is still ours and lives on. ARGV: the value, milliseconds to live. */
const keepLease = `
if redis.pcall("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("PEXPIRE", KEYS[1], ARGV[2])`;

/** 1 when the lease was ours; it is given back. ARGV: the value. */
const dropLease = `
if redis.pcall("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])`;

/**
 * The addresses of nodes heard of lately, the last ones first, at most 17. ARGV: the address of who asks, which is told by
 * it, or nothing; milliseconds after which a node is gone.
 */
const hearNodes = `
local kind = redis.call("TYPE", KEYS[1]).ok
if kind ~= "zset" and kind ~= "none" then redis.call("DEL", KEYS[1]) end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now - tonumber(ARGV[2]))
if ARGV[1] ~= "" then redis.call("ZADD", KEYS[1], now, ARGV[1]) end
redis.call("PEXPIRE", KEYS[1], ARGV[2])
return redis.call("ZREVRANGE", KEYS[1], 0, 16)`;

/** For the `scripts` option of ioredis. */
export const scripts = {
  putTag: { lua: putTag, numberOfKeys: 1 },
  addLinks: { lua: addLinks, numberOfKeys: 1 },
  addSize: { lua: addSize, numberOfKeys: 1 },
  takeLease: { lua: takeLease, numberOfKeys: 1 },
  keepLease: { lua: keepLease, numberOfKeys: 1 },
  dropLease: { lua: dropLease, numberOfKeys: 1 },
  hearNodes: { lua: hearNodes, numberOfKeys: 1 },
};

declare module "ioredis" {
  interface RedisCommander<Context> {
    putTag(
      key: string,
      record: string,
      checkedAt: number,
      lifetime: number,
      garbage: string,
    ): Result<string | null, Context>;
    addLinks(key: string, lifetime: number, ...digests: string[]): Result<string, Context>;
    addSize(key: string, size: number, lifetime: number): Result<string, Context>;
    takeLease(key: string, value: string, lifetime: number): Result<string | null, Context>;
    keepLease(key: string, value: string, lifetime: number): Result<number, Context>;
    dropLease(key: string, value: string): Result<number, Context>;
    hearNodes(key: string, address: string, lifetime: number): Result<string[], Context>;
  }
}
