// Redis, with the client the mirror has: whether it is there, takes the password and writes, and what it is set to.
import { randomBytes } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import type { Config, RedisConfig } from "../config/config.ts";
import { orAborted } from "../ports/deadline.ts";
import {
  commandClient,
  listeningClient,
  PasswordReader,
  type RedisClient,
  type RedisPasswords,
} from "../storage/redis/client.ts";
import { redisMessage } from "../storage/redis/connection.ts";
import { RedisKeys } from "../storage/redis/keys.ts";
import { skewFinding } from "./clock-skew.ts";
import { type Finding, failed, ok, type Part, skipped, warning } from "./examination.ts";

/** Nodes that are asked for, as in storage/redis/scripts.ts. */
const mostNodes = 17;
/** Milliseconds a key lives that could not be deleted again. */
const keyLifetime = 10_000;
const refusedLogin = /WRONGPASS|NOAUTH|invalid (?:username-)?password|AUTH/;

/** Resolves with the addresses of the nodes that Redis knows to be alive. */
export async function examineRedis(
  part: Part,
  redis: RedisConfig,
  node: Config["node"],
): Promise<readonly string[]> {
  const problems: string[] = [];
  const reader = new PasswordReader(redis, (notice) => {
    if (notice.kind === "secret_problem") problems.push(notice.message);
  });
  const passwords = await reader.read();
  const client = commandClient(redis, passwords, `${node.name}-doctor`);
  const said = (error: unknown): string => redisMessage(error, passwords);
  try {
    const connected = await part.check("connect", (signal) => connect(client, redis, passwords, signal));
    await part.check("auth", async () => {
      const [problem] = problems;
      if (problem !== undefined) return failed(problem, "Mend the file that redis.passwordFile names.");
      if (connected !== undefined && connected !== "ready")
        return failed(
          connected,
          passwords.server === undefined
            ? "Set redis.password or redis.passwordFile."
            : "Correct redis.username and redis.password (or its file).",
        );
      if (passwords.server === undefined) return skipped("no password is configured");
      if (await takesAnybody(redis, passwords, `${node.name}-doctor`))
        return warning(
          "it takes anybody, also without the password that is configured",
          "Set requirepass in Redis, or a password for its user default (or turn that off).",
        );
      return ok("the password is taken");
    });
    await part.check("memory", async () => memoryFinding(await serverOf(client).info("memory")), {
      alone: true,
    });
    await part.check(
      "clock",
      async () => {
        const [seconds = 0] = (await serverOf(client).time()).map(Number);
        return skewFinding("that of Redis", seconds * 1000, Date.now());
      },
      { alone: true },
    );
    const { nodes } = new RedisKeys(redis.prefix, redis.database, []);
    const alive = await part.check(
      "nodes",
      async () => {
        const addresses = await client.zrevrange(nodes, 0, mostNodes - 1);
        return ok(addresses.length === 0 ? "none is alive" : `alive: ${addresses.join(", ")}`, addresses);
      },
      { alone: true },
    );
    // The last one: a replica's refusal makes the client connect anew.
    await part.check("write", () => checkWrite(client, redis, said), { alone: true });
    return alive ?? [];
  } finally {
    client.disconnect();
  }
}

/** `ready`, or how it refuses to let us in, which is no matter of the connection. */
async function connect(
  client: RedisClient,
  redis: RedisConfig,
  passwords: RedisPasswords,
  signal: AbortSignal,
) {
  const { promise, resolve } = Promise.withResolvers<string>();
  let last = "";
  const failing = (error: unknown): void => {
    last = redisMessage(error, passwords);
    // A Cluster and sentinels go on to the next one, which may be there.
    if (redis.servers.kind === "standalone" || refusedLogin.test(last)) resolve(last);
  };
  client.on("ready", () => resolve(""));
  for (const event of ["error", "node error", "sentinelError"]) client.on(event, failing);
  const trouble = await orAborted(promise, signal).catch(() => last || "it does not answer");
  const at = placeOf(redis);
  if (trouble === "") return ok(at, "ready");
  if (refusedLogin.test(trouble)) return ok(at, trouble);
  return failed(`${at}: ${trouble}`, connectFix(trouble));
}

/** Whether it answers one who shows no password, on a connection of its own. */
async function takesAnybody(redis: RedisConfig, passwords: RedisPasswords, name: string): Promise<boolean> {
  const client = listeningClient(redis, { ...passwords, server: undefined }, name, 0);
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.ping()) === "PONG";
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}

function connectFix(trouble: string): string {
  if (/CERT|SSL|TLS|certificate/i.test(trouble))
    return "Check redis.tls: its authority, and the server's name.";
  if (/ENOTFOUND|EAI_AGAIN/.test(trouble))
    return "Correct the host in redis.url, or add the name to the DNS.";
  return "Start Redis, or correct redis.url, and let this machine reach it; until then each node goes by what it knows itself.";
}

function placeOf({ servers, tls }: RedisConfig): string {
  const over = tls === undefined ? "" : ", over TLS";
  if (servers.kind === "standalone") return `${servers.host}:${servers.port}${over}`;
  const all = servers.kind === "sentinel" ? servers.sentinels : servers.nodes;
  const what = servers.kind === "sentinel" ? `sentinels of ${servers.master}` : "cluster";
  return `${what}: ${all.map(({ host, port }) => `${host}:${port}`).join(", ")}${over}`;
}

/** A key of its own, which is deleted again. */
async function checkWrite(client: RedisClient, { prefix }: RedisConfig, said: (error: unknown) => string) {
  const key = `${prefix}doctor:${randomBytes(8).toString("hex")}`;
  try {
    await client.set(key, "1", "PX", keyLifetime);
    const read = await client.get(key);
    await client.del(key);
    if (read === "1") return ok("a key was written, read and deleted");
    return failed("a key that was written was not there a moment later", "Look for what empties this Redis.");
  } catch (error) {
    const message = said(error);
    return failed(message, writeFix(message));
  }
}

function writeFix(message: string): string {
  if (message.startsWith("READONLY"))
    return "Set redis.url to the primary instead of its replica, or use redis.sentinels.";
  if (message.startsWith("NOPERM"))
    return "Give the user of redis.username the rights to the keys of the prefix.";
  if (message.startsWith("OOM"))
    return "Raise maxmemory of Redis, or set its maxmemory-policy to allkeys-lru.";
  if (message.startsWith("MISCONF")) return "Mend the disk Redis saves to (its own log says more).";
  return "See the log of Redis.";
}

/** What of its keys Redis may throw away, and whether it is about to. */
export function memoryFinding(info: string): Finding {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1];
  const policy = field("maxmemory_policy");
  const most = Number(field("maxmemory") ?? 0);
  const used = Number(field("used_memory") ?? 0);
  if (policy === undefined) return skipped("it does not say");
  if (most === 0) return ok("no maxmemory is set: nothing is evicted");
  const seen = `maxmemory-policy ${policy}, ${used} of ${most} bytes used`;
  if (policy === "noeviction")
    return used > most * 0.9
      ? warning(seen, "Raise maxmemory: writes are refused when it is reached.")
      : ok(seen);
  if (used > most * 0.9)
    return warning(
      seen,
      "Raise maxmemory: leases and tags are being evicted, so that nodes fetch the same blobs and ask upstream more often.",
    );
  return ok(`${seen}: keys are evicted when it is reached`);
}

/** One server, as they are set alike. */
function serverOf(client: RedisClient): Redis {
  return "nodes" in client ? ((client as Cluster).nodes("master")[0] as Redis) : (client as Redis);
}
