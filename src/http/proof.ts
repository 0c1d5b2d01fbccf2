// What upstream is asked, with a caller's own credentials, before anything is looked up for that caller: for the very thing
// that the request asks for. That upstream gives it proves the right to read the repository.
import type { Repository } from "../oci/name.ts";
import { referenceText } from "../oci/reference.ts";
import type { Route } from "../oci/route.ts";
import { type Upstream, UpstreamError } from "../ports/upstream.ts";
import type { AccountAnswer } from "../ports/upstream-answer.ts";
import { type Failure, failures } from "./error.ts";

/** The answer when upstream does not have what is asked for, and says nothing about it. */
export const absences: Readonly<Partial<Record<Route["kind"], Failure>>> = {
  tags: failures.repositoryUnknown,
  manifest: failures.manifestUnknown,
  blob: failures.blobUnknown,
  referrers: failures.referrersUnknown,
};

/** What a right is about: a repository of the upstream or, without one, the account. */
export function scopeOf(upstream: Upstream, repository: Repository | undefined): string {
  return `${upstream.name}/${repository ?? ""}`;
}

/** See Asked (gate/proved-rights.ts). */
export function thingOf(route: Route): string {
  if (route.kind === "manifest") return `manifest ${referenceText(route.reference)}`;
  return "digest" in route ? `${route.kind} ${route.digest}` : route.kind;
}

/**
 * Asks upstream for what the route asks for. For what is no question about one repository: whether it takes the account.
 * Rejects with UpstreamError; also for an answer that may come from somebody else than the registry.
 */
export async function askForProof(
  upstream: Upstream,
  repository: Repository | undefined,
  route: Route,
): Promise<AccountAnswer> {
  if (repository === undefined) return upstream.checkAccount();
  switch (route.kind) {
    case "manifest": {
      const head = await upstream.headManifest(repository, route.reference);
      if (head.kind !== "found" || head.digest !== undefined) return head;
      // Without a digest it may be anybody's page: only the manifest itself shows what it is.
      const manifest = await upstream.getManifest(repository, route.reference);
      if (manifest.kind !== "oversize") return manifest;
      manifest.discard();
      return { kind: "found" };
    }
    case "blob": {
      const head = await upstream.headBlob(repository, route.digest);
      if (head.kind === "found" && head.doubt !== undefined)
        throw new UpstreamError("protocol", `upstream ${upstream.name} ${head.doubt}`);
      return head;
    }
    case "tags":
      return upstream.listTags(repository, 1, undefined);
    case "referrers":
      return upstream.listReferrers(repository, route.digest, undefined);
    default:
      return upstream.checkAccount();
  }
}
