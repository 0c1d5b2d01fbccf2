// What webhooks act on. A webhook is a hint: it makes this mirror ask, and never tells it what the answer is.
import type { Reference } from "../../oci/reference.ts";
import type { WebhookEvent } from "./webhook-shapes.ts";

/** Of a tag or digest that keeps to the grammar, in a repository that need not. */
export interface WebhookChange extends Pick<WebhookEvent, "what" | "repository" | "storage"> {
  /** Undefined: the first one. */
  readonly upstream: string | undefined;
  readonly reference: Reference;
}

export interface WebhookTarget {
  /** False when it can concern nothing that is kept here. Must not reject. */
  changed(change: WebhookChange): Promise<boolean>;
}
