// Announcements as text. What comes in may be anybody's, or a later version's: it is used only when all of it is right.

import { parseDigest } from "../../oci/digest.ts";
import { parseRepository, parseTag } from "../../oci/name.ts";
import type { Announcement } from "../../ports/shared.ts";

/** In UTF-16 units; nothing that is announced is as long. */
const maxLength = 4_096;

/** The name here of an upstream as all nodes call it. */
type NameOf = (id: string) => string | undefined;

/** Undefined for what `self` said itself, for what is about an upstream not here, and for what is no announcement. */
export function parseAnnouncement(text: string, self: string, nameOf: NameOf): Announcement | undefined {
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
