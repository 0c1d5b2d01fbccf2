// Announcements over a channel of Redis. Each arrives at most once: a node misses what is published while it does not
// listen, and learns that it may have missed something when it listens again. Of what must not be answered from any more
// every listening node says on the same channel that it has acted upon it; how many listen Redis knows.
import { randomUUID } from "node:crypto";
import type { Cluster } from "ioredis";
import { parseDigest } from "../../oci/digest.ts";
import { parseRepository, parseTag } from "../../oci/name.ts";
import type { Pause } from "../../ports/clock.ts";
import type { Announcement, Announcements } from "../../ports/shared.ts";
import type { RedisClient } from "./client.ts";
import type { RedisConnection } from "./connection.ts";
import type { RedisKeys } from "./keys.ts";
import type { RedisListener } from "./listener.ts";

/** Messages being sent at once; further ones are dropped. As many may wait to be acknowledged; more are not waited for. */
const maxPending = 1_000;
/** Milliseconds in which every node has to acknowledge a message: one that hangs keeps every push waiting as long. */
const acknowledgeTimeout = 1_000;

export interface RedisAnnouncementsOptions {
  readonly connection: RedisConnection;
  readonly listener: RedisListener;
  readonly pause: Pause;
}

interface Subscriber {
  readonly hear: (announcement: Announcement) => unknown;
  readonly missed: () => void;
}

/** A message of this node, until every node has acknowledged it. */
interface Unacknowledged {
  /** Nodes that have, this one among them; each hears its own messages as well. */
  heard: number;
  /** Nodes that hear it; undefined until Redis has said so. */
  listening: number | undefined;
  readonly over: () => void;
}

export class RedisAnnouncements implements Announcements {
  readonly #connection: RedisConnection;
  readonly #listener: RedisListener;
  readonly #pause: Pause;
  /** Tells this node's own messages from others'. Random, because two nodes may have one name. */
  readonly #self = randomUUID();
  readonly #subscribers: Subscriber[] = [];
  readonly #unacknowledged = new Map<number, Unacknowledged>();
  #pending = 0;
  #numbers = 0;

  constructor({ connection, listener, pause }: RedisAnnouncementsOptions) {
    this.#connection = connection;
    this.#listener = listener;
    this.#pause = pause;
    listener.listen(
      (text) => void this.#hear(text),
      () => {
        for (const { missed } of this.#subscribers) missed();
      },
    );
  }

  async publish(announcement: Announcement): Promise<void> {
    const { keys } = this.#connection;
    const message = messageOf(announcement, keys);
    const waits =
      this.#listener.listening &&
      this.#unacknowledged.size < maxPending &&
      announcement.kind !== "absent" &&
      announcement.kind !== "confirmed" &&
      announcement.kind !== "released";
    if (waits) await this.#acknowledged(message);
    else await this.#send(message);
  }

  subscribe(hear: Subscriber["hear"], missed: () => void): void {
    this.#subscribers.push({ hear, missed });
    if (this.#listener.listening) missed();
  }

  async #acknowledged(message: Message): Promise<void> {
    const number = ++this.#numbers;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting: Unacknowledged = { heard: 0, listening: undefined, over: resolve };
    this.#unacknowledged.set(number, waiting);
    const ended = new AbortController();
    try {
      waiting.listening = await this.#send({ ...message, number }, true);
      if (waiting.listening === undefined || waiting.heard >= waiting.listening) return;
      await Promise.race([promise, this.#pause(acknowledgeTimeout, ended.signal).catch(() => {})]);
    } finally {
      ended.abort();
      this.#unacknowledged.delete(number);
    }
  }

  /**
   * With `counts` how many connections listen to it; undefined when that is not known, or it was not sent. Never rejects.
   */
  async #send(message: Message, counts = false): Promise<number | undefined> {
    if (!this.#connection.usable || this.#pending >= maxPending) return undefined;
    const { announcements } = this.#connection.keys;
    const text = JSON.stringify({ from: this.#self, ...message });
    this.#pending++;
    try {
      return await this.#connection.run("publish", (client) =>
        publishInOrder(client, announcements, text, counts),
      );
    } catch {
      // The circuit has counted the failure, and other nodes notice the change without the message.
      return undefined;
    } finally {
      this.#pending--;
    }
  }

  async #hear(text: string): Promise<void> {
    const message = parseMessage(text);
    if (message === undefined) return;
    const { from, kind, to, number } = message;
    if (from === this.#self || (kind === "heard" && to === this.#self)) return this.#isHeard(number);
    if (kind === "heard") return;
    const announcement = announcementIn(message, (id) => this.#connection.keys.nameOf(id));
    if (announcement !== undefined)
      await Promise.allSettled(this.#subscribers.map(async ({ hear }) => await hear(announcement)));
    if (typeof from === "string" && Number.isSafeInteger(number))
      await this.#send({ kind: "heard", to: from, number: number as number });
  }

  #isHeard(number: unknown): void {
    const waiting = this.#unacknowledged.get(number as number);
    if (waiting === undefined) return;
    waiting.heard++;
    if (waiting.listening !== undefined && waiting.heard >= waiting.listening) waiting.over();
  }
}

type Message = Readonly<Record<string, string | number>>;

/**
 * In a Cluster any node takes a PUBLISH, so two messages may overtake each other. A script runs on the node its key
 * belongs to, which keeps the order. Resolves with the connections that listen; undefined where they cannot be counted.
 */
async function publishInOrder(
  client: RedisClient,
  channel: string,
  message: string,
  counts: boolean,
): Promise<number | undefined> {
  if (!client.isCluster) return await client.publish(channel, message);
  await client.eval('return redis.call("PUBLISH", KEYS[1], ARGV[1])', 1, channel, message);
  return counts ? await listeningTo(client as Cluster, channel).catch(() => undefined) : undefined;
}

/** Each node of a Cluster knows of the connections that it has itself. */
async function listeningTo(cluster: Cluster, channel: string): Promise<number> {
  const ready = cluster.nodes().filter(({ status }) => status === "ready");
  const counts = await Promise.all(ready.map((node) => node.pubsub("NUMSUB", channel)));
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** The announcement as all nodes read it: the upstream by its identifier. */
function messageOf(announcement: Announcement, keys: RedisKeys): Message {
  if (announcement.kind === "released" || announcement.kind === "purged" || announcement.kind === "blocked")
    return announcement;
  const { kind, scope, ...what } = announcement;
  return { kind, upstream: keys.upstream(scope.upstream), repository: scope.repository, ...what };
}

/** UTF-16 units of a message; announcements are shorter. */
const maxLength = 4_096;

/** From the identifier all nodes use for an upstream to its name here. */
type NameOf = (id: string) => string | undefined;

/** Undefined for what is no message: other programs may publish to the channel. */
function parseMessage(text: string): Record<string, unknown> | undefined {
  if (text.length > maxLength) return undefined;
  try {
    const message: unknown = JSON.parse(text);
    return typeof message === "object" && message !== null ? (message as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined for an upstream this node does not have, and for what later versions of this program say. */
function announcementIn(message: Record<string, unknown>, nameOf: NameOf): Announcement | undefined {
  const { kind, as, key, id } = message;
  if (kind === "purged") return typeof id === "string" ? { kind, id } : undefined;
  if (kind === "blocked") {
    const digest = parseDigest(textOf(message.digest));
    return digest && { kind, digest };
  }
  if (kind === "released") return typeof key === "string" ? { kind, key } : undefined;
  const upstream = nameOf(textOf(message.upstream));
  const repository = parseRepository(textOf(message.repository));
  if (upstream === undefined || repository === undefined) return undefined;
  const scope = { upstream, repository };
  if (kind === "written") return { kind, scope };
  if (kind === "tag" || kind === "confirmed") {
    const tag = parseTag(textOf(message.tag));
    return tag && { kind, scope, tag };
  }
  if (kind === "unlinked") {
    const digest = parseDigest(textOf(message.digest));
    return digest && { kind, scope, digest };
  }
  if (kind !== "absent" || (as !== "manifest" && as !== "blob")) return undefined;
  const what = parseDigest(textOf(message.what)) ?? parseTag(textOf(message.what));
  return what && { kind, scope, as, what };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
