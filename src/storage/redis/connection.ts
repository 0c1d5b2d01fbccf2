// The connection of this node to Redis, which knows whether Redis is usable. Commands fail at once or within 0.2 s when
// it is not, and the connection is made again without a restart.

import type { RedisConfig } from "../../config/config.ts";
import { StoreError } from "../../ports/blobs.ts";
import { Circuit } from "../../ports/circuit.ts";
import type { Pause } from "../../ports/clock.ts";
import type { NamedUpstream } from "../../ports/datacenter/upstream-id.ts";
import type { Notice, NoticeSink } from "../../ports/event.ts";
import { inSpan } from "../../ports/tracing/span.ts";
import { commandClient, isReady, PasswordReader, type RedisClient, type RedisPasswords } from "./client.ts";
import { RedisKeys } from "./keys.ts";

/** Milliseconds before a client that gave up is replaced. */
const replacePause = 1_000;

/** Commands in a row without an answer in time that open the circuit; milliseconds between probes. */
const circuitLimit = 3;
const probeInterval = 1_000;

export interface RedisConnectionOptions {
  readonly redis: RedisConfig;
  /** The upstreams whose content is shared. */
  readonly upstreams: readonly NamedUpstream[];
  /** Shown to administrators of Redis (CLIENT LIST). */
  readonly nodeName: string;
  readonly notices: NoticeSink;
  readonly pause: Pause;
}

export class RedisConnection {
  readonly keys: RedisKeys;
  /** Resolves when it is first known whether Redis can be used. */
  readonly settled: Promise<void>;
  readonly #settle: () => void;
  readonly #options: RedisConnectionOptions;
  readonly #passwords: PasswordReader;
  readonly #circuit: Circuit;
  #client: RedisClient | undefined;
  #clientPasswords: RedisPasswords | undefined;
  #renewing = false;
  readonly #closing = new AbortController();
  /** The state of the last notice; undefined before the first. */
  #notified: boolean | undefined;
  #reason = "not connected yet";

  /** Begins to connect and does not wait for it: Redis may be down. */
  constructor(options: RedisConnectionOptions) {
    const { redis, notices, pause } = options;
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.settled = promise;
    this.#settle = resolve;
    this.keys = new RedisKeys(redis.prefix, redis.database, options.upstreams);
    this.#passwords = new PasswordReader(redis, notices);
    this.#circuit = redisCircuit({
      reset: () => this.#drop(),
      probe: () => this.#probe(),
      changed: () => {
        this.#reason = "it is connected and silent";
        this.#notify(this.#reason);
      },
      pause,
    });
    void this.#renew();
  }

  /** False: every command would fail, and need not be sent. */
  get usable(): boolean {
    return (
      !this.#closing.signal.aborted &&
      this.#circuit.isClosed &&
      this.#client !== undefined &&
      isReady(this.#client)
    );
  }

  /**
   * The result of `ask`, which has 0.2 s for each command it waits for. Rejects with StoreError `unavailable`, whatever
   * the reason. `action` completes "cannot …".
   */
  async run<T>(action: string, ask: (client: RedisClient) => Promise<T>): Promise<T> {
    const client = this.#client;
    const passwords = this.#clientPasswords;
    if (client === undefined || !this.usable)
      throw new StoreError("unavailable", `cannot ${action}: redis does not answer: ${this.#reason}`);
    const work = async (): Promise<T> => {
      try {
        return await this.#circuit.run(() => ask(client));
      } catch (error) {
        const reason = redisMessage(error, passwords);
        throw new StoreError("unavailable", `cannot ${action}: redis: ${reason}`, { cause: error });
      }
    };
    return await inSpan("redis", { "db.system.name": "redis", "entrepot.action": action }, work, "client");
  }

  /** Asks until there is an answer or the circuit is open: one that is connected and silent is found without traffic. */
  async check(): Promise<void> {
    for (let asked = 0; asked < circuitLimit && this.usable; asked++) {
      const answered = await this.run("find it", (client) => client.ping()).then(
        () => true,
        () => false,
      );
      if (answered) return;
    }
  }

  /** Closes at once what is open; idempotent. */
  close(): void {
    this.#closing.abort();
    this.#settle();
    this.#circuit.close();
    this.#client?.disconnect();
  }

  /**
   * Only a connection that is ready: one being made has bounds of its own, and ioredis fails when it is interrupted.
   */
  #drop(): void {
    if (this.#client?.status === "ready") this.#client.disconnect(true);
  }

  async #probe(): Promise<void> {
    const client = this.#client;
    if (client === undefined || !isReady(client)) throw new Error("not connected");
    await client.ping();
  }

  /**
   * Makes the client, or a new one when the passwords have changed. With the same passwords it reconnects by itself.
   */
  async #renew(): Promise<void> {
    if (this.#renewing || this.#closing.signal.aborted) return;
    this.#renewing = true;
    const passwords = await this.#passwords.read();
    this.#renewing = false;
    const known = this.#clientPasswords;
    const same = known?.server === passwords.server && known?.sentinels === passwords.sentinels;
    if (this.#closing.signal.aborted || (this.#client !== undefined && same)) return;
    const old = this.#client;
    const { redis, nodeName } = this.#options;
    this.#clientPasswords = passwords;
    this.#client = this.#listenTo(commandClient(redis, passwords, nodeName), passwords);
    old?.disconnect();
  }

  /** Replaces a client that has stopped reconnecting. */
  async #replace(): Promise<void> {
    this.#client = undefined;
    await this.#options.pause(replacePause, this.#closing.signal).catch(() => {});
    await this.#renew();
  }

  #listenTo(client: RedisClient, passwords: RedisPasswords): RedisClient {
    const isCurrent = (): boolean => this.#client === client && !this.#closing.signal.aborted;
    const failed = (error: unknown): void => {
      if (!isCurrent()) return;
      if (error instanceof Error) this.#reason = redisMessage(error, passwords);
      this.#notify(this.#reason);
      void this.#renew();
    };
    client.on("ready", () => isCurrent() && this.#notify(""));
    client.on("error", failed);
    // One node of a Cluster, or one sentinel, may fail while the others work.
    client.on("node error", failed);
    client.on("sentinelError", failed);
    client.on("close", failed);
    client.on("end", () => isCurrent() && void this.#replace());
    return client;
  }

  /** Sends a notice when Redis has become usable or stopped being usable. */
  #notify(message: string): void {
    const { usable } = this;
    this.#settle();
    if (this.#notified === usable || this.#closing.signal.aborted) return;
    this.#notified = usable;
    this.#options.notices({ kind: "shared_store", store: "redis", usable, message: usable ? "" : message });
  }
}

export interface RedisCircuitOptions {
  /** Drops connections that may be stuck; called when the circuit opens and after each failed probe. */
  readonly reset: () => void;
  /** Rejects, in bounded time, when Redis does not answer. */
  readonly probe: () => Promise<void>;
  /** Called when the circuit opens or closes. */
  readonly changed: () => void;
  readonly pause: Pause;
}

/**
 * Whether commands are sent at all: with a server that is connected and does not answer, each takes its whole time-out.
 * Refusals and closed connections do not count, because they come at once.
 */
export function redisCircuit({ reset, probe, changed, pause }: RedisCircuitOptions): Circuit {
  return new Circuit({
    limit: circuitLimit,
    weigh: (error) => (isTimeout(error) ? 1 : "answer"),
    refusal: () => new StoreError("unavailable", "redis has not answered lately and is not asked for now"),
    probe,
    interval: probeInterval,
    intervalFrom: "end",
    changed: (state) => {
      if (state !== "half_open") changed();
      if (state === "open") reset();
    },
    pause,
  });
}

/** ioredis has no class or code for it. */
function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === "Command timed out";
}

/**
 * With the reason of the last node, which ioredis leaves out of its own message, and without the passwords: a server that does
 * not know AUTH, or has another name for it, repeats what it was sent.
 */
export function redisMessage(error: unknown, passwords: RedisPasswords | undefined): string {
  const last = error instanceof Error && "lastNodeError" in error ? error.lastNodeError : undefined;
  const message = error instanceof Error ? error.message || error.name : String(error);
  const whole = last instanceof Error ? `${message} (${last.message})` : message;
  return [passwords?.server, passwords?.sentinels].reduce<string>(
    (text, secret) => (secret === undefined ? text : text.replaceAll(secret, "[redacted]")),
    whole,
  );
}

/** In place of a value whose key holds another type. */
export const wrongType = Symbol("wrong type");

/** The reply; undefined when there is none, `wrongType` when the key holds another type of value. */
export async function valueAt<T>(reply: Promise<T | null>): Promise<T | undefined | typeof wrongType> {
  try {
    return (await reply) ?? undefined;
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("WRONGTYPE")) return wrongType;
    throw error;
  }
}

/**
 * A value that another program wrote, or that is not whole: it counts as absent. `operation` as in `redis.tags.get`.
 */
export function malformedNotice(operation: string, key: string): Notice {
  const message = `${key} in redis holds something else than was written there; it is ignored and will be replaced`;
  return { kind: "store_error", op: operation, code: "io", message };
}
