// Announcements over a channel of Redis. Each arrives at most once: a node misses what is published while it does not
// listen, and learns that it may have missed something when it listens again.
import { randomUUID } from "node:crypto";
import { parseDigest } from "../../oci/digest.ts";
import { parseRepository, parseTag } from "../../oci/name.ts";
import type { Announcement, Announcements } from "../../ports/shared.ts";
import type { RedisClient } from "./client.ts";
import type { RedisConnection } from "./connection.ts";
import type { RedisKeys } from "./keys.ts";
import type { RedisListener } from "./listener.ts";

/** Messages being sent at once; further ones are dropped. */
const maxPending = 1_000;

export interface RedisAnnouncementsOptions {
  readonly connection: RedisConnection;
  readonly listener: RedisListener;
}

export class RedisAnnouncements implements Announcements {
  readonly #connection: RedisConnection;
  readonly #listener: RedisListener;
  /** Tells this node's own messages from others'. Random, because two nodes may have one name. */
  readonly #self = randomUUID();
  #pending = 0;

  constructor({ connection, listener }: RedisAnnouncementsOptions) {
    this.#connection = connection;
    this.#listener = listener;
  }

  publish(announcement: Announcement): void {
    if (!this.#connection.usable || this.#pending >= maxPending) return;
    const { keys } = this.#connection;
    const message = JSON.stringify({ from: this.#self, ...messageOf(announcement, keys) });
    this.#pending++;
    this.#connection
      .run("publish", (client) => publishInOrder(client, keys.announcements, message))
      // The circuit has counted the failure, and other nodes notice the change without the message.
      .catch(() => {})
      .finally(() => {
        this.#pending--;
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
 * In a Cluster any node takes a PUBLISH, so two messages may overtake each other. A script runs on the node its key
 * belongs to, which keeps the order.
 */
function publishInOrder(client: RedisClient, channel: string, message: string): Promise<unknown> {
  if (!client.isCluster) return client.publish(channel, message);
  return client.eval('return redis.call("PUBLISH", KEYS[1], ARGV[1])', 1, channel, message);
}

/** The announcement as all nodes read it: the upstream by its identifier. */
function messageOf(announcement: Announcement, keys: RedisKeys): Readonly<Record<string, string>> {
  if (announcement.kind === "released") return announcement;
  const { kind, scope, ...what } = announcement;
  return { kind, upstream: keys.upstream(scope.upstream), repository: scope.repository, ...what };
}

/** UTF-16 units of a message; announcements are shorter. */
const maxLength = 4_096;

/** From the identifier all nodes use for an upstream to its name here. */
type NameOf = (id: string) => string | undefined;

/**
 * Undefined for a message of `self`, for an upstream this node does not have, and for anything but an announcement:
 * other programs, or later versions of this one, may publish to the channel.
 */
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
  const scope = { upstream, repository };
  if (kind === "written") return { kind, scope };
  if (kind === "tag") {
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
