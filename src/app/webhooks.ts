// Webhooks come in: registries report pushes that did not pass through this mirror.
import type { Config, UpstreamConfig } from "../config/config.ts";
import { parseRepository, type Repository } from "../oci/name.ts";
import { type WebhookChange, WebhookReceiver, type WebhookTarget } from "../ops/webhooks/webhook-receiver.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { TagStore } from "../ports/records.ts";
import { remoteRepository, type Upstream } from "../ports/upstream.ts";
import { Prefetch } from "./prefetch.ts";
import { type AffectedCaches, createPushSink } from "./push-writers.ts";

/** What webhooks act on. */
export interface WebhookParts {
  /** Those of the configuration, in the same order. */
  readonly upstreams: readonly Upstream[];
  readonly caches: AffectedCaches;
  /** Knows which tags have been pulled. */
  readonly tags: Pick<TagStore, "get">;
}

export class Webhooks {
  /** Undefined when no webhook is taken. */
  readonly receiver: WebhookReceiver | undefined;
  readonly #upstreams: readonly UpstreamConfig[];
  /** Undefined: what was pushed waits for the next client. */
  readonly #prefetch: Prefetch | undefined;
  #target: WebhookTarget | undefined;

  constructor({ webhooks, upstreams }: Pick<Config, "webhooks" | "upstreams">, notices: NoticeSink) {
    this.#upstreams = upstreams;
    if (webhooks === undefined) return;
    this.#prefetch = webhooks.prefetch ? new Prefetch() : undefined;
    this.receiver = new WebhookReceiver({
      secrets: webhooks.secrets,
      upstreams: upstreams.map(({ name }) => name),
      target: () => this.#target,
      notices,
    });
  }

  /** From now on webhooks act on these. */
  attach(parts: WebhookParts): void {
    this.#target = createTarget(this.#upstreams, parts, this.#prefetch);
  }

  /** Starts nothing new upstream. */
  stop(): void {
    this.#target = undefined;
    this.#prefetch?.stop();
  }
}

function createTarget(
  configs: readonly UpstreamConfig[],
  { upstreams, caches, tags }: WebhookParts,
  prefetch: Prefetch | undefined,
): WebhookTarget {
  const sinks = upstreams.map((upstream) => createPushSink(upstream.name, caches));
  return {
    async changed(change) {
      const { reference, what } = change;
      const at =
        change.upstream === undefined ? 0 : configs.findIndex(({ name }) => name === change.upstream);
      const [config, upstream, sink] = [configs[at], upstreams[at], sinks[at]];
      if (config === undefined || upstream === undefined || sink === undefined) return false;
      const repository = repositoryHere(config, change);
      if (repository === undefined) return false;
      if (reference.kind === "digest") {
        await sink.changed(repository, reference, what === "drop" ? "deleted" : "pushed");
        return true;
      }
      const remote = remoteRepository(upstream, repository);
      // Only a tag that was pulled here before: the sender must not choose what this mirror downloads.
      const used =
        prefetch !== undefined &&
        what === "confirm" &&
        (await Promise.resolve(tags.get(remote, reference.tag)).catch(() => undefined)) !== undefined;
      // A record that is only to be confirmed can still be served when upstream fails.
      const gone = what === "drop" && isItsStorage(config, change.storage);
      await sink.changed(repository, reference, gone ? "deleted" : "unsure");
      if (used) prefetch.add(() => caches.manifests.open(remote, reference));
      return true;
    },
  };
}

/** The repository as clients know it: without what is put before it when this upstream is asked. */
function repositoryHere(
  { repositoryPrefix }: UpstreamConfig,
  { repository, storage }: WebhookChange,
): Repository | undefined {
  // Artifactory names its own repository apart, which may be one of several behind the one that is pulled from.
  const prefix = storage === undefined ? repositoryPrefix : repositoryPrefix.split("/").slice(1).join("/");
  return parseRepository(
    prefix !== "" && repository.startsWith(`${prefix}/`) ? repository.slice(prefix.length + 1) : repository,
  );
}

/** False when what is gone from this repository of Artifactory's may still be in the one that is pulled from. */
function isItsStorage({ repositoryPrefix, url }: UpstreamConfig, storage: string | undefined): boolean {
  if (storage === undefined) return true;
  const [first] = repositoryPrefix.split("/");
  const [, inPath] = /\/api\/docker\/([^/]+)$/.exec(url.pathname) ?? [];
  return storage === (first || inPath);
}
