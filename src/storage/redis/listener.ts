// The second connection to Redis, which only listens: a connection that has subscribed can do little else. It is made
// anew whenever it ends, with the passwords as they are then, and looked after by pings, as nothing else is sent on it.
import { listeningClient, PasswordReader, retryDelay } from "./client.ts";
import type { RedisConnectionOptions } from "./connection.ts";
import { RedisKeys } from "./keys.ts";

/** Milliseconds between pings. */
const pingInterval = 2_000;

interface Ears {
  readonly hear: (text: string) => void;
  readonly missed: () => void;
}

/** Begins to listen and does not wait for it. */
export function openRedisListener(options: RedisConnectionOptions): RedisListener {
  return new RedisListener(options);
}

export class RedisListener {
  readonly #options: RedisConnectionOptions;
  readonly #channel: string;
  readonly #passwords: PasswordReader;
  readonly #ears: Ears[] = [];
  readonly #closing = new AbortController();
  #listening = false;

  constructor(options: RedisConnectionOptions) {
    this.#options = options;
    const { redis, notices, upstreams } = options;
    this.#channel = new RedisKeys(redis.prefix, redis.database, upstreams).announcements;
    this.#passwords = new PasswordReader(redis, notices);
    void this.#run();
  }

  /** Whether messages arrive now. */
  get listening(): boolean {
    return this.#listening;
  }

  /** `missed` is called whenever messages arrive again, at once when they already do. */
  listen(hear: (text: string) => void, missed: () => void): void {
    this.#ears.push({ hear, missed });
    if (this.#listening) missed();
  }

  /** Idempotent. */
  close(): void {
    this.#closing.abort();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    for (let attempt = 0; !signal.aborted; attempt++) {
      failures = (await this.#listenOnce(attempt)) ? 1 : failures + 1;
      await this.#options.pause(retryDelay(failures), signal).catch(() => {});
    }
  }

  /** Resolves when the connection has ended; false when it never listened. */
  async #listenOnce(attempt: number): Promise<boolean> {
    const { signal } = this.#closing;
    const { redis, nodeName } = this.#options;
    const passwords = await this.#passwords.read();
    if (signal.aborted) return false;
    const client = listeningClient(redis, passwords, nodeName, attempt);
    const ended = new Promise<void>((resolve) => client.once("end", resolve));
    const end = (): void => client.disconnect();
    // The command connection tells what is wrong with Redis.
    client.on("error", () => {});
    client.on("message", (_channel, text) => {
      for (const { hear } of this.#ears) hear(text);
    });
    signal.addEventListener("abort", end, { once: true });
    let pings: NodeJS.Timeout | undefined;
    try {
      await client.connect();
      await client.subscribe(this.#channel);
      this.#listening = true;
      for (const { missed } of this.#ears) missed();
      pings = setInterval(() => void client.ping().catch(end), pingInterval).unref();
      await ended;
      return true;
    } catch {
      end();
      await ended;
      return false;
    } finally {
      this.#listening = false;
      clearInterval(pings);
      signal.removeEventListener("abort", end);
    }
  }
}
