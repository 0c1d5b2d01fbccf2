// Where webhooks go: to those who hear of what is pushed through this mirror.
import type { Listings } from "../cache/listings.ts";
import type { Manifests } from "../cache/manifests.ts";
import type { NegativeAnswers } from "../cache/negative-answers.ts";
import type { TagStore, Upstream } from "../cache/ports.ts";
import type { UpstreamConfig } from "../config/config.ts";
import { parseRepository, type Repository } from "../oci/name.ts";
import type { WebhookChange, WebhookTarget } from "../ops/webhook-target.ts";
import type { Prefetch } from "./prefetch.ts";

export interface WebhookTargetOptions {
  readonly manifests: Manifests;
  readonly negative: NegativeAnswers;
  readonly listings: Listings;
  /** Knows which tags have been pulled. */
  readonly tags: Pick<TagStore, "get">;
  /** Left out: what was pushed waits for the next client. */
  readonly prefetch: Prefetch | undefined;
}

/** `upstreams` are those of `configs`, in the same order. */
export function createWebhookTarget(
  configs: readonly UpstreamConfig[],
  upstreams: readonly Upstream[],
  { manifests, negative, listings, tags, prefetch }: WebhookTargetOptions,
): WebhookTarget {
  return {
    async changed(change) {
      const { reference, what } = change;
      const at =
        change.upstream === undefined ? 0 : configs.findIndex(({ name }) => name === change.upstream);
      const [config, upstream] = [configs[at], upstreams[at]];
      const repository = config && repositoryHere(config, change);
      if (config === undefined || upstream === undefined || repository === undefined) return false;
      negative.forget(upstream.name, repository);
      listings.forget(upstream.name, repository);
      if (reference.kind === "digest") {
        await manifests.changed(upstream, repository, reference, what === "drop" ? "deleted" : "pushed");
        return true;
      }
      const { tag } = reference;
      const wanted = prefetch && what === "confirm";
      // Only what somebody here uses: whoever pushes must not choose what this mirror downloads.
      const pulled = wanted && (await tags.get(upstream.name, repository, tag).catch(() => undefined));
      // A record that is only to be confirmed is there for when upstream fails.
      const gone = what === "drop" && isItsStorage(config, change.storage);
      await manifests.changed(upstream, repository, reference, gone ? "deleted" : "unsure");
      if (pulled) prefetch?.add(() => manifests.open(upstream, repository, reference));
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
