// What a person types to pull an image through this mirror.
import { referenceText } from "../../oci/reference.ts";
import type { ImageReference, ReferenceNames } from "./image-reference.ts";

/**
 * What `docker pull` takes for the image. The first upstream is the one without a name before the repository; null for another
 * one that has no `component`, which no name of docker leads to. `mirrorUrl`: how clients reach the mirror.
 */
export function dockerPullOf(
  image: Pick<ImageReference, "upstream" | "repository" | "reference">,
  { upstreams: [first, ...others] }: Pick<ReferenceNames, "upstreams">,
  mirrorUrl: string,
): string | null {
  const { upstream, repository, reference } = image;
  const component = others.find(({ name }) => name === upstream)?.component;
  if (first.name !== upstream && component === undefined) return null;
  const path = first.name === upstream ? "" : `${component}/`;
  const { host, pathname } = new URL(mirrorUrl);
  const base = pathname.replace(/\/+$/, "");
  return `${host}${base}/${path}${repository}${reference.kind === "tag" ? ":" : "@"}${referenceText(reference)}`;
}
