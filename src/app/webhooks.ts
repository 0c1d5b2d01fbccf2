// Webhooks come in: registries report pushes that did not pass through this mirror.
import type { Config, UpstreamConfig } from "../config/config.ts";
import { parseRepository, type Repository } from "../oci/name.ts";
import { type WebhookChange, WebhookReceiver, type WebhookTarget } from "../ops/webhooks/webhook-receiver.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { TagStore } from "../ports/records.ts";
import { remoteRepository, type Upstream } from "../ports/upstream.ts";
import type { Warm } from "./images/warm.ts";
import { type AffectedCaches, createPushSink } from "./push-writers.ts";

/** What webhooks act on. */
export interface WebhookParts {
  /** Those of now. */
  readonly upstreams: () => readonly Upstream[];
  readonly caches: AffectedCaches;
  /** Knows which tags have been pulled. */
  readonly tags: Pick<TagStore, "get">;
}

type WebhookSettings = Pick<Config, "webhooks" | "upstreams">;

export class Webhooks {
  readonly receiver: WebhookReceiver;
  readonly #settings: () => WebhookSettings;
  /** What was pushed is fetched at once where the settings say so; otherwise it waits for the next client. */
  readonly #warm: Pick<Warm, "manifest">;
  #target: WebhookTarget | undefined;

  /** `settings` are those of now; without secrets no webhook is taken. */
  constructor(settings: () => WebhookSettings, notices: NoticeSink, warm: Pick<Warm, "manifest">) {
    this.#warm = warm;
    this.#settings = settings;
    this.receiver = new WebhookReceiver({
      secrets: () => settings().webhooks?.secrets ?? {},
      upstreams: () => settings().upstreams.map(({ name }) => name),
      target: () => this.#target,
      notices,
    });
  }

  /** From now on webhooks act on these. */
  attach(parts: WebhookParts): void {
    this.#target = createTarget(this.#settings, parts, this.#warm);
  }

  /** Starts nothing new upstream. */
  stop(): void {
    this.#target = undefined;
  }
}

function createTarget(
  settings: () => WebhookSettings,
  { upstreams, caches, tags }: WebhookParts,
  warm: Pick<Warm, "manifest">,
): WebhookTarget {
  return {
    async changed(change) {
      const { reference, what } = change;
      const { webhooks, upstreams: configs } = settings();
      const config =
        change.upstream === undefined ? configs[0] : configs.find(({ name }) => name === change.upstream);
      const upstream = upstreams().find(({ name }) => name === config?.name);
      if (config === undefined || upstream === undefined) return false;
      const sink = createPushSink(upstream.name, caches);
      const repository = repositoryHere(config, change);
      if (repository === undefined) return false;
      if (reference.kind === "digest") {
        await sink.changed(repository, reference, what === "drop" ? "deleted" : "pushed");
        return true;
      }
      const remote = remoteRepository(upstream, repository);
      // Only a tag that was pulled here before: the sender must not choose what this mirror downloads.
      const used =
        webhooks?.prefetch === true &&
        upstream.cut === undefined &&
        what === "confirm" &&
        (await Promise.resolve(tags.get(remote, reference.tag)).catch(() => undefined)) !== undefined;
      // A record that is only to be confirmed can still be served when upstream fails.
      const gone = what === "drop" && isItsStorage(config, change.storage);
      await sink.changed(repository, reference, gone ? "deleted" : "unsure");
      if (used) warm.manifest(remote, reference);
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
