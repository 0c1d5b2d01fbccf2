// What this mirror tells others and what others tell it: notifications out, webhooks in.
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Config } from "../config/config.ts";
import { WebhookReceiver } from "../ops/webhooks/webhook-receiver.ts";
import type { WebhookTarget } from "../ops/webhooks/webhook-target.ts";
import type { Pause } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { Upstream } from "../ports/upstream.ts";
import { createNotifications, type Notifications } from "../telemetry/notifications/notifications.ts";
import { version } from "../version.ts";
import { Prefetch } from "./prefetch.ts";
import { createWebhookTarget, type WebhookTargetOptions } from "./webhook-target.ts";

export class Hooks {
  /** The port clients pull from, once it is known. */
  port = 0;
  readonly notifications: Notifications;
  /** Undefined when no webhook is taken. */
  readonly webhooks: WebhookReceiver | undefined;
  readonly #config: Config;
  readonly #prefetch: Prefetch | undefined;
  #target: WebhookTarget | undefined;

  constructor(config: Config, notices: NoticeSink, pause: Pause) {
    this.#config = config;
    const instanceID = randomUUID();
    this.notifications = createNotifications({
      endpoints: config.notifications?.endpoints ?? [],
      source: () => ({ addr: `${hostname()}:${this.port}`, instanceID }),
      notices,
      userAgent: `entrepot/${version}`,
      pause,
    });
    const { webhooks, upstreams } = config;
    if (webhooks === undefined) return;
    this.#prefetch = webhooks.prefetch ? new Prefetch() : undefined;
    this.webhooks = new WebhookReceiver({
      secrets: webhooks.secrets,
      upstreams: upstreams.map(({ name }) => name),
      target: () => this.#target,
      notices,
    });
  }

  /** From now on webhooks act on these. */
  attach(upstreams: readonly Upstream[], parts: Omit<WebhookTargetOptions, "prefetch">): void {
    const prefetch = this.#prefetch;
    this.#target = createWebhookTarget(this.#config.upstreams, upstreams, { ...parts, prefetch });
  }

  /** Starts nothing new upstream. */
  stop(): void {
    this.#target = undefined;
    this.#prefetch?.stop();
  }
}
