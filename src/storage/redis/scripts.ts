// The scripts Redis runs in one step. Each works on one key, so that a Cluster can run it. ioredis sends EVALSHA, and
// EVAL to a server that does not know the script yet.
import type { Result } from "ioredis";
import { longestSummary } from "../../ports/datacenter/summary-schema.ts";

/**
 * Puts a tag record unless a later one is there, which is returned: the caller checks whether it is a record at all,
 * and if not passes it as ARGV[4] the next time. A value without a time is overwritten.
 * ARGV: the record, its time, milliseconds to live, a malformed value to overwrite whatever its time.
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

/** Links of a repository in Redis at most. Beyond it any are removed: each costs a request to upstream. */
const maxLinks = 50_000;

/**
 * Adds digests to the set of links of a repository. A value of another type is replaced.
 * ARGV: milliseconds to live, then the digests.
 */
const addLinks = `
if redis.call("TYPE", KEYS[1]).ok ~= "set" then redis.call("DEL", KEYS[1]) end
for at = 2, #ARGV do redis.call("SADD", KEYS[1], ARGV[at]) end
local over = redis.call("SCARD", KEYS[1]) - ${maxLinks}
if over > 0 then redis.call("SPOP", KEYS[1], over) end
redis.call("PEXPIRE", KEYS[1], ARGV[1])
return redis.status_reply("OK")`;

/** Puts a size, unless there is one. ARGV: the size, milliseconds to live. */
const addSize = `
local stored = redis.pcall("GET", KEYS[1])
if type(stored) == "string" and string.find(stored, "^%d+$") then redis.call("PEXPIRE", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2]) end
return redis.status_reply("OK")`;

/** Takes a lease, or returns the value of its holder. ARGV: the value, milliseconds to live. */
const takeLease = `
local held = redis.pcall("GET", KEYS[1])
if type(held) == "string" then return held end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return false`;

/** 1 when the lease still has the value, and is renewed. ARGV: the value, milliseconds to live. */
const keepLease = `
if redis.pcall("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("PEXPIRE", KEYS[1], ARGV[2])`;

/** 1 when the lease had the value, and is deleted. ARGV: the value. */
const dropLease = `
if redis.pcall("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])`;

/**
 * The addresses of the nodes that are alive, the latest heartbeat first, at most 17. ARGV: the address of the calling
 * node, whose heartbeat this is, or ""; milliseconds after its last heartbeat that a node counts as gone.
 */
const liveNodes = `
local kind = redis.call("TYPE", KEYS[1]).ok
if kind ~= "zset" and kind ~= "none" then redis.call("DEL", KEYS[1]) end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now - tonumber(ARGV[2]))
if ARGV[1] ~= "" then redis.call("ZADD", KEYS[1], now, ARGV[1]) end
redis.call("PEXPIRE", KEYS[1], ARGV[2])
return redis.call("ZREVRANGE", KEYS[1], 0, 16)`;

/** Summaries of nodes in Redis at most. */
const maxSummaries = 64;
/** Fields that are looked at. The script leaves no more than 64, so what has more was not made by it alone, and is begun anew. */
const maxFields = 256;
/** Bytes of a value: the time in front of a summary, and the summary. */
const longestValue = 16 + longestSummary;
/** Milliseconds that what was said may be ahead of Redis's clock, which may have been set back or be that of another server now. */
const mostAhead = 60_000;

/**
 * Puts what a node says of itself, and returns for each other one the milliseconds since it said something, and what. Of
 * more than 64 those that have been silent the longest are removed, as are those older than the lifetime, those said more than
 * a minute from now, and those that are too long, which are not read.
 * ARGV: who says it, what, milliseconds to live.
 */
const shareSummary = `
local kind = redis.call("TYPE", KEYS[1]).ok
if kind ~= "none" and (kind ~= "hash" or redis.call("HLEN", KEYS[1]) > ${maxFields}) then redis.call("DEL", KEYS[1]) end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("HSET", KEYS[1], ARGV[1], string.format("%.0f ", now) .. ARGV[2])
redis.call("PEXPIRE", KEYS[1], ARGV[3])
local others = {}
for _, field in ipairs(redis.call("HKEYS", KEYS[1])) do
  local said, text
  if redis.call("HSTRLEN", KEYS[1], field) <= ${longestValue} then
    said, text = string.match(redis.call("HGET", KEYS[1], field), "^(%d+) (.*)$")
  end
  local age = said and now - tonumber(said)
  if not age or age > tonumber(ARGV[3]) or age < -${mostAhead} then redis.call("HDEL", KEYS[1], field)
  elseif field ~= ARGV[1] then others[#others + 1] = { field, age, text } end
end
table.sort(others, function(a, b) return a[2] < b[2] end)
local told = {}
for at, other in ipairs(others) do
  if at >= ${maxSummaries} then redis.call("HDEL", KEYS[1], other[1])
  else
    told[#told + 1] = string.format("%.0f", other[2])
    told[#told + 1] = other[3]
  end
end
return told`;

/** For the `scripts` option of ioredis. */
export const scripts = {
  putTag: { lua: putTag, numberOfKeys: 1 },
  addLinks: { lua: addLinks, numberOfKeys: 1 },
  addSize: { lua: addSize, numberOfKeys: 1 },
  takeLease: { lua: takeLease, numberOfKeys: 1 },
  keepLease: { lua: keepLease, numberOfKeys: 1 },
  dropLease: { lua: dropLease, numberOfKeys: 1 },
  liveNodes: { lua: liveNodes, numberOfKeys: 1 },
  shareSummary: { lua: shareSummary, numberOfKeys: 1 },
};

declare module "ioredis" {
  interface RedisCommander<Context> {
    putTag(
      key: string,
      record: string,
      checkedAt: number,
      lifetime: number,
      malformed: string,
    ): Result<string | null, Context>;
    addLinks(key: string, lifetime: number, ...digests: string[]): Result<string, Context>;
    addSize(key: string, size: number, lifetime: number): Result<string, Context>;
    takeLease(key: string, value: string, lifetime: number): Result<string | null, Context>;
    keepLease(key: string, value: string, lifetime: number): Result<number, Context>;
    dropLease(key: string, value: string): Result<number, Context>;
    liveNodes(key: string, address: string, lifetime: number): Result<string[], Context>;
    shareSummary(key: string, id: string, summary: string, lifetime: number): Result<string[], Context>;
  }
}
