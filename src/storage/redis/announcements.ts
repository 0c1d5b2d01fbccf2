// Announcements over a channel of Redis. At most once: what is said while a node does not listen is lost to it, so it
// is told whenever it begins to listen again.
import { randomUUID } from "node:crypto";
import type { Announcement, Announcements } from "../../ports/shared.ts";
import { parseAnnouncement } from "./announcement.ts";
import type { RedisClient } from "./client.ts";
import type { RedisConnection } from "./connection.ts";
import type { RedisListener } from "./listener.ts";

/** Messages on their way out; beyond that they are lost. */
const mostUnderWay = 1_000;

export interface RedisAnnouncementsOptions {
  readonly connection: RedisConnection;
  readonly listener: RedisListener;
}

export class RedisAnnouncements implements Announcements {
  readonly #connection: RedisConnection;
  readonly #listener: RedisListener;
  /** Names can be given twice. */
  readonly #self = randomUUID();
  #underWay = 0;

  constructor({ connection, listener }: RedisAnnouncementsOptions) {
    this.#connection = connection;
    this.#listener = listener;
  }

  publish(announcement: Announcement): void {
    if (!this.#connection.usable || this.#underWay >= mostUnderWay) return;
    const { keys } = this.#connection;
    const upstream = "upstream" in announcement ? { upstream: keys.upstream(announcement.upstream) } : {};
    const message = JSON.stringify({ from: this.#self, ...announcement, ...upstream });
    this.#underWay++;
    this.#connection
      .run("publish", (client) => publishInOrder(client, keys.announcements, message))
      // The circuit has seen it, and those it was for will find out by themselves.
      .catch(() => {})
      .finally(() => {
        this.#underWay--;
      });
  }

  subscribe(listener: (announcement: Announcement) => void, missed: () => void): void {
    const { keys } = this.#connection;
    this.#listener.listen((text) => {
      const announcement = parseAnnouncement(text, this.#self, (id) => keys.nameOf(id));
      if (announcement !== undefined) listener(announcement);
    }, missed);
  }
}

/**
 * A Cluster takes what is published at any of its nodes, and two messages may overtake each other on their ways. A
 * script goes where its key belongs: to one node, in order.
 */
function publishInOrder(client: RedisClient, channel: string, message: string): Promise<unknown> {
  if (!client.isCluster) return client.publish(channel, message);
  return client.eval('return redis.call("PUBLISH", KEYS[1], ARGV[1])', 1, channel, message);
}
