// What upstream calls a repository.

import type { UpstreamConfig } from "../config/config.ts";
import { parseRepository, type Repository } from "../oci/name.ts";
import { UpstreamError } from "../ports/upstream.ts";

/**
 * The repository as upstream knows it: Artifactory's repository-path method puts its own name before ours. Throws
 * UpstreamError protocol for a name that is too long with it.
 */
export function repositoryThere(
  { name, repositoryPrefix }: Pick<UpstreamConfig, "name" | "repositoryPrefix">,
  repository: Repository,
): Repository {
  if (repositoryPrefix === "") return repository;
  const there = parseRepository(`${repositoryPrefix}/${repository}`);
  if (there === undefined)
    throw new UpstreamError("protocol", `upstream ${name}: a repository name is too long with its prefix`);
  return there;
}
