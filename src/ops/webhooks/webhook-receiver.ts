// `POST /hooks/<source>`: who may send, how much, and what is done with it. A sender that shows the secret is answered
// 202 whatever else it sends: senders repeat what was refused again and again, and their queue stands still meanwhile.
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { LRUCache } from "lru-cache";
import { parseDigest } from "../../oci/digest.ts";
import { parseTag } from "../../oci/name.ts";
import { type Reference, referenceText } from "../../oci/reference.ts";
import {
  type NoticeSink,
  type WebhookResult,
  type WebhookSource,
  webhookSources,
} from "../../ports/event.ts";
import { isSameSecret, type SecretSource } from "../../ports/secret.ts";
import { bodyOf, jsonOf } from "../request-body.ts";
import { readWebhook, type WebhookEvent } from "./webhook-shapes.ts";

/**
 * A change of a tag or digest, both checked against the grammar; the repository is as the sender wrote it. A webhook is a
 * hint: it makes this mirror ask upstream, and is never taken for the answer.
 */
export interface WebhookChange extends Pick<WebhookEvent, "what" | "repository" | "storage"> {
  /** Undefined: the first one. */
  readonly upstream: string | undefined;
  readonly reference: Reference;
}

/** What webhooks act on. */
export interface WebhookTarget {
  /** False when it can concern nothing that is kept here. Must not reject. */
  changed(change: WebhookChange): Promise<boolean>;
}

export interface WebhookReceiverOptions {
  /** Those of now, by source; where there is none, there is no endpoint. */
  readonly secrets: () => Readonly<Record<string, SecretSource>>;
  /** Names of all upstreams there are now. */
  readonly upstreams: () => readonly string[];
  /** Undefined until there is something to act on. */
  readonly target: () => WebhookTarget | undefined;
  readonly notices: NoticeSink;
}

export interface WebhookAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The sender has shown the secret of this source. */
  readonly sender?: WebhookSource;
  readonly result?: WebhookResult;
  /** What was to change, `team/app:1.0`; the first of it. */
  readonly about?: readonly string[];
}

/** Bodies held at once. */
const maxRunning = 16;
/** Changes acted on for one request; what is more is left to the tags' time to live. */
const maxChanges = 256;
/** Changes that an answer tells of. */
const maxTold = 10;
/** Ids of events remembered, each of this length at most. */
const maxIds = 10_000;
const longestId = 256;

interface Outcome extends WebhookAnswer {
  readonly result: WebhookResult;
}

export class WebhookReceiver {
  readonly #options: WebhookReceiverOptions;
  readonly #seen = new LRUCache<string, true>({ max: maxIds });
  #running = 0;

  constructor(options: WebhookReceiverOptions) {
    this.#options = options;
  }

  /** Undefined where there is no such endpoint. */
  async receive(request: IncomingMessage): Promise<WebhookAnswer | undefined> {
    const { url = "" } = request;
    const [path = ""] = url.split("?", 1);
    const source = webhookSources.find((each) => path === `/hooks/${each}`);
    const secret = source && this.#options.secrets()[source];
    if (source === undefined || secret === undefined) return undefined;
    if (request.method !== "POST") return { status: 405, body: "only POST\n", headers: { allow: "POST" } };
    let result: WebhookResult = "failed";
    try {
      const outcome = await this.#take(request, source, new URLSearchParams(url.slice(path.length)), secret);
      result = outcome.result;
      return outcome;
    } finally {
      this.#options.notices({ kind: "webhook", source, result });
    }
  }

  async #take(
    request: IncomingMessage,
    source: WebhookSource,
    query: URLSearchParams,
    secret: SecretSource,
  ): Promise<Outcome> {
    if (!showsSecret(request.headers, query, (await secret.read()).reveal())) {
      const headers = { "www-authenticate": "Bearer" };
      return { status: 401, body: "not the secret of this endpoint\n", headers, result: "refused" };
    }
    const upstream = query.get("upstream") || undefined;
    if (!this.#isKnown(upstream))
      return { status: 404, body: "there is no upstream of that name\n", result: "unknown", sender: source };
    const target = this.#options.target();
    if (target === undefined || this.#running >= maxRunning)
      return {
        status: 503,
        body: "later\n",
        headers: { "retry-after": "1" },
        result: "failed",
        sender: source,
      };
    this.#running++;
    try {
      const body = await bodyOf(request);
      if (body === "too_large")
        return { status: 413, body: "more than 1 MiB\n", result: "failed", sender: source };
      // The client has gone and will not read this.
      if (body === "broken_off")
        return { status: 400, body: "broken off\n", result: "failed", sender: source };
      const { result, about } = await this.#act(target, source, upstream, body);
      return { status: 202, body: `${result}\n`, result, sender: source, about };
    } finally {
      this.#running--;
    }
  }

  async #act(
    target: WebhookTarget,
    source: WebhookSource,
    upstream: string | undefined,
    body: Buffer,
  ): Promise<{ readonly result: WebhookResult; readonly about: readonly string[] }> {
    const events = readWebhook(source, jsonOf(body));
    if (events === undefined || !events.every((event) => this.#isKnown(event.upstream)))
      return { result: "unknown", about: [] };
    const fresh = events.filter(({ id }) => id === undefined || !this.#seen.has(keyOf(source, id)));
    const changes = changesOf(fresh, upstream);
    const applied = await Promise.all(changes.map((change) => target.changed(change)));
    for (const { id } of fresh) if (id !== undefined) this.#seen.set(keyOf(source, id), true);
    const about = changes.slice(0, maxTold).map(toldAs);
    if (applied.includes(true)) return { result: "applied", about };
    return { result: fresh.length < events.length ? "duplicate" : "ignored", about };
  }

  #isKnown(upstream: string | undefined): boolean {
    return upstream === undefined || this.#options.upstreams().includes(upstream);
  }
}

function toldAs({ repository, reference }: WebhookChange): string {
  const separator = reference.kind === "tag" ? ":" : "@";
  return `${repository.slice(0, longestId)}${separator}${referenceText(reference)}`;
}

/** The last change of each tag and digest. */
function changesOf(events: readonly WebhookEvent[], upstream: string | undefined): WebhookChange[] {
  const changes = new Map<string, WebhookChange>();
  for (const event of events) {
    const reference = referenceOf(event);
    if (reference === undefined) continue;
    const { what, repository, storage } = event;
    const change = { what, repository, storage, reference, upstream: upstream ?? event.upstream };
    const key = JSON.stringify([change.upstream, storage, repository, reference]);
    changes.delete(key);
    changes.set(key, change);
  }
  return [...changes.values()].slice(0, maxChanges);
}

/** A tag, if it names one: what it points to is upstream's to say. */
function referenceOf({ tag, digest }: WebhookEvent): Reference | undefined {
  const asTag = tag === undefined ? undefined : parseTag(tag);
  if (asTag !== undefined) return { kind: "tag", tag: asTag };
  const asDigest = digest === undefined ? undefined : parseDigest(digest);
  return asDigest && { kind: "digest", digest: asDigest };
}

function keyOf(source: WebhookSource, id: string): string {
  return `${source} ${id.slice(0, longestId)}`;
}

/**
 * Whether the request shows the secret: as the whole of Authorization or after `Bearer`, in X-JFrog-Event-Auth
 * (Artifactory), or, for senders that can only be given an address, as `?secret=`. Takes the same time for every
 * wrong one of a length.
 */
function showsSecret(headers: IncomingHttpHeaders, query: URLSearchParams, secret: string): boolean {
  const { authorization, "x-jfrog-event-auth": eventAuth } = headers;
  const shown = [authorization, authorization?.replace(/^Bearer +/i, ""), eventAuth, query.get("secret")];
  return shown.map((each) => typeof each === "string" && isSameSecret(each, secret)).includes(true);
}
