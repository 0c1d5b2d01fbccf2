// Announcements over a channel of Redis. At most once: what is said while a node does not listen is lost to it, so it
// is told whenever it begins to listen again.
import { randomUUID } from "node:crypto";
import { parseDigest } from "../../oci/digest.ts";
import { parseRepository, parseTag } from "../../oci/name.ts";
import type { Announcement, Announcements } from "../../ports/shared.ts";
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

/** In UTF-16 units; nothing that is announced is as long. */
const maxLength = 4_096;

/** The name here of an upstream as all nodes call it. */
type NameOf = (id: string) => string | undefined;

/** Undefined for what `self` said itself, for what is about an upstream not here, and for what is no announcement. */
function parseAnnouncement(text: string, self: string, nameOf: NameOf): Announcement | undefined {
  if (text.length > maxLength) return undefined;
  try {
    const message = JSON.parse(text) as Record<string, unknown>;
    return message.from === self ? undefined : announcementIn(message, nameOf);
  } catch {
    return undefined;
  }
}

function announcementIn(message: Record<string, unknown>, nameOf: NameOf): Announcement | undefined {
  const { kind, as, key } = message;
  if (kind === "released") return typeof key === "string" ? { kind, key } : undefined;
  const upstream = nameOf(textOf(message.upstream));
  const repository = parseRepository(textOf(message.repository));
  if (upstream === undefined || repository === undefined) return undefined;
  if (kind === "written") return { kind, upstream, repository };
  if (kind === "tag") {
    const tag = parseTag(textOf(message.tag));
    return tag && { kind, upstream, repository, tag };
  }
  if (kind === "unlinked") {
    const digest = parseDigest(textOf(message.digest));
    return digest && { kind, upstream, repository, digest };
  }
  if (kind !== "absent" || (as !== "manifest" && as !== "blob")) return undefined;
  const what = parseDigest(textOf(message.what)) ?? parseTag(textOf(message.what));
  return what && { kind, upstream, repository, as, what };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
