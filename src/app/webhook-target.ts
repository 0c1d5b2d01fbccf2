// Where webhooks go: to those who hear of what is pushed through this mirror.

import type { UpstreamConfig } from "../config/config.ts";
import { parseRepository, type Repository } from "../oci/name.ts";
import type { WebhookChange, WebhookTarget } from "../ops/webhooks/webhook-target.ts";
import type { TagStore } from "../ports/records.ts";
import type { Upstream } from "../ports/upstream.ts";
import type { Prefetch } from "./prefetch.ts";
import { type AffectedCaches, createPushSink } from "./push-writers.ts";

export interface WebhookTargetOptions {
  readonly caches: AffectedCaches;
  /** Knows which tags have been pulled. */
  readonly tags: Pick<TagStore, "get">;
  /** Left out: what was pushed waits for the next client. */
  readonly prefetch: Prefetch | undefined;
}

/** `upstreams` are those of `configs`, in the same order. */
export function createWebhookTarget(
  configs: readonly UpstreamConfig[],
  upstreams: readonly Upstream[],
  { caches, tags, prefetch }: WebhookTargetOptions,
): WebhookTarget {
  const sinks = upstreams.map((upstream) => createPushSink(upstream, caches));
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
      // Only what somebody here uses: whoever pushes must not choose what this mirror downloads.
      const used =
        prefetch !== undefined &&
        what === "confirm" &&
        (await tags.get(upstream.name, repository, reference.tag).catch(() => undefined)) !== undefined;
      // A record that is only to be confirmed is there for when upstream fails.
      const gone = what === "drop" && isItsStorage(config, change.storage);
      await sink.changed(repository, reference, gone ? "deleted" : "unsure");
      if (used) prefetch.add(() => caches.manifests.open(upstream, repository, reference));
      return true;
    },
  };
}

/** The repository as clients know it: without what is put before it when this upstream is asked. */
function repositoryHere(
  { repositoryPrefix }: UpstreamConfig,
  { repository, storage }: WebhookChange,
): Repository | undefined {
  // Artifactory tells its own repository apart, and it may be one of several behind the one that is pulled from.
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
