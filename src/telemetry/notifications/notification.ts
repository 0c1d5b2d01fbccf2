// From a finished request, or a tag that has moved, to the event that receivers of a registry's notifications know (CNCF Distribution's
// envelope: the names and places of the fields are theirs).
import { randomUUID } from "node:crypto";
import type { Notice, RequestEvent } from "../../ports/event.ts";

/** `tag.moved` is no action of a client: upstream has said that a tag names another digest than before. */
export const notificationActions = ["pull", "push", "mount", "delete", "tag.moved"] as const;
export type NotificationAction = (typeof notificationActions)[number];

/** One event of an envelope `{"events": [...]}`. What is undefined is left out of the JSON. */
export interface Notification {
  readonly id: string;
  /** RFC 3339: when the request ended, or the move was noticed. */
  readonly timestamp: string;
  readonly action: NotificationAction;
  readonly target: {
    readonly mediaType?: string | undefined;
    readonly digest?: string | undefined;
    /** Bytes; `length` is the same, under its old name. */
    readonly size?: number | undefined;
    readonly length?: number | undefined;
    readonly repository: string;
    readonly fromRepository?: string | undefined;
    /** What a tag that has moved named before. */
    readonly fromDigest?: string | undefined;
    /** Where the content can be pulled, as the client names this mirror. */
    readonly url?: string | undefined;
    readonly tag?: string | undefined;
  };
  /** Left out of what is no request. */
  readonly request?: {
    readonly id: string;
    readonly addr: string;
    readonly host?: string | undefined;
    readonly method: string;
    readonly useragent?: string | undefined;
  };
  /** The caller, where it has a name; of a tag that has moved who asked when it was noticed. */
  readonly actor: { readonly name?: string };
  readonly source: NotificationSource;
}

/** The node the event comes from. */
export interface NotificationSource {
  /** `host:port`. */
  readonly addr: string;
  /** Another one for every run of the program. */
  readonly instanceID: string;
}

/**
 * The event for a pull that is complete (GET, and HEAD, of a manifest or blob: 200, or 206 with every byte of the
 * range) and for a write that upstream has taken; undefined for every other request.
 */
export function notificationOf(event: RequestEvent, source: NotificationSource): Notification | undefined {
  const { repository } = event;
  const action = actionOf(event);
  if (action === undefined || repository === undefined) return undefined;
  const { reference, content, write } = event;
  return {
    id: randomUUID(),
    timestamp: new Date(event.time.getTime() + event.durationMs).toISOString(),
    action,
    target: {
      ...(action === "delete" ? { digest: content?.digest } : described(event)),
      repository,
      fromRepository: write?.from,
      // A digest has a colon, a tag has none.
      tag: isManifest(event) && reference?.includes(":") === false ? reference : undefined,
    },
    request: {
      id: event.id,
      addr: event.client,
      host: event.host,
      method: event.method,
      useragent: event.userAgent,
    },
    actor: event.user === undefined ? {} : { name: event.user },
    source,
  };
}

/** `at`: when it was noticed. Who asked then is the actor. */
export function notificationOfMove(
  { repository, tag, from, to, by }: Notice & { kind: "tag_moved" },
  at: Date,
  source: NotificationSource,
): Notification {
  return {
    id: randomUUID(),
    timestamp: at.toISOString(),
    action: "tag.moved",
    target: { digest: to, fromDigest: from, repository, tag },
    actor: by === undefined ? {} : { name: by },
    source,
  };
}

function actionOf({ write, route, method, status, abortedBy }: RequestEvent): NotificationAction | undefined {
  if (write !== undefined) return write.action;
  if (route !== "blob" && route !== "manifest_tag" && route !== "manifest_digest") return undefined;
  const reads = method === "GET" || method === "HEAD";
  return reads && (status === 200 || status === 206) && abortedBy === undefined ? "pull" : undefined;
}

function described(event: RequestEvent): Partial<Notification["target"]> {
  const { content, status, bytesSent, method } = event;
  if (content === undefined) return {};
  const { mediaType, digest } = content;
  // The size of a blob may not have been known before its last byte.
  const whole = event.write === undefined && method === "GET" && status === 200 ? bytesSent : undefined;
  const size = content.size ?? whole;
  return { mediaType, digest, size, length: size, url: urlOf(event, digest) };
}

function isManifest({ route }: RequestEvent): boolean {
  return route === "manifest_tag" || route === "manifest_digest";
}

/** By digest, under the name and with the prefix the client used. */
function urlOf(event: RequestEvent, digest: string): string | undefined {
  const { host, path } = event;
  const endpoint = isManifest(event) ? "/manifests/" : "/blobs/";
  const end = path.lastIndexOf(endpoint);
  return host === undefined || end < 0
    ? undefined
    : `http://${host}${path.slice(0, end)}${endpoint}${digest}`;
}
