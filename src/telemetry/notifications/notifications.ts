// Notifications go out: the configured endpoints get events about pulls, and about pushes that pass through.
import { inTime } from "../../ports/deadline.ts";
import type { EventSink } from "../../ports/event.ts";
import { type NotificationSource, notificationOf } from "./notification.ts";
import { type EndpointContext, type EndpointOptions, NotificationEndpoint } from "./notification-endpoint.ts";

export interface Notifications {
  readonly onEvent: EventSink;
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
}

/** Milliseconds. */
const flushTimeout = 5_000;

/** Nothing is sent, and no connection made, before the first event. */
export function createNotifications({ endpoints, source, ...context }: NotificationsOptions): Notifications {
  const receivers = endpoints.map((endpoint) => new NotificationEndpoint(endpoint, context));
  let flushing: Promise<void> | undefined;
  const flush = async (): Promise<void> => {
    const flushed = Promise.all(receivers.map((receiver) => receiver.flush()));
    await inTime(flushed, flushTimeout, context.pause);
  };
  return {
    onEvent(event) {
      const notification = receivers.length === 0 ? undefined : notificationOf(event, source());
      if (notification === undefined) return;
      const wanting = receivers.filter((receiver) => receiver.wants(notification));
      if (wanting.length === 0) return;
      const json = JSON.stringify(notification);
      for (const receiver of wanting) receiver.offer(json);
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
