// Notifications go out: the configured endpoints get events about pulls, about pushes that pass through, and about tags that move.

import type { Clock } from "../../ports/clock.ts";
import { inTime } from "../../ports/deadline.ts";
import type { EventSink, NoticeSink } from "../../ports/event.ts";
import {
  type Notification,
  type NotificationSource,
  notificationOf,
  notificationOfMove,
} from "./notification.ts";
import { type EndpointContext, type EndpointOptions, NotificationEndpoint } from "./notification-endpoint.ts";

export interface Notifications {
  readonly onEvent: EventSink;
  readonly onNotice: NoticeSink;
  /** Events that wait for the endpoint of that name; undefined when there is none. */
  pending(endpoint: string): number | undefined;
  /** Resolves when nothing waits any more, or 5 s after it was first called. */
  flush(): Promise<void>;
  /** Flushes, if that was not done before, and drops what is left. */
  close(): Promise<void>;
}

export interface NotificationsOptions extends EndpointContext {
  readonly endpoints: readonly EndpointOptions[];
  /** Called for every event: the port is not known before the program listens. */
  readonly source: () => NotificationSource;
  readonly clock: Clock;
}

/** Milliseconds. */
const flushTimeout = 5_000;

/** Nothing is sent, and no connection made, before the first event. */
export function createNotifications({
  endpoints,
  source,
  clock,
  ...context
}: NotificationsOptions): Notifications {
  const receivers = endpoints.map((endpoint) => new NotificationEndpoint(endpoint, context));
  let flushing: Promise<void> | undefined;
  const flush = async (): Promise<void> => {
    const flushed = Promise.all(receivers.map((receiver) => receiver.flush()));
    await inTime(flushed, flushTimeout, context.pause);
  };
  const send = (notification: Notification): void => {
    const wanting = receivers.filter((receiver) => receiver.wants(notification));
    if (wanting.length === 0) return;
    const json = JSON.stringify(notification);
    for (const receiver of wanting) receiver.offer(json);
  };
  return {
    onEvent(event) {
      const notification = receivers.length === 0 ? undefined : notificationOf(event, source());
      if (notification !== undefined) send(notification);
    },
    onNotice(notice) {
      if (notice.kind === "tag_moved" && receivers.length > 0)
        send(notificationOfMove(notice, new Date(clock()), source()));
    },
    pending: (endpoint) => receivers.find(({ name }) => name === endpoint)?.pending,
    flush() {
      flushing ??= flush();
      return flushing;
    },
    async close() {
      await this.flush();
      await Promise.all(receivers.map((receiver) => receiver.close()));
    },
  };
}
