// How an image of a layout says what it is and where it belongs: annotations of its descriptor in index.json. Other programs read
// `org.opencontainers.image.ref.name` (image-spec, "Pre-Defined Annotation Keys"; skopeo, podman, umoci) and `io.containerd.image.name`
// (containerd, nerdctl, docker, podman since 4.0). Neither says which registry of ours an image is of, so there are three of our own.
import type { Digest } from "../oci/digest.ts";
import { parseImageName } from "../oci/image-name.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../oci/name.ts";
import { LayoutError } from "./layout-error.ts";
import type { LayoutImage } from "./layout-files.ts";

export const refNameAnnotation = "org.opencontainers.image.ref.name";
export const containerdAnnotation = "io.containerd.image.name";
/** The name that the mirror which has exported the image has for its upstream. */
export const upstreamAnnotation = "io.entrepot.upstream";
/** The repository, by the name it has at the upstream. */
export const repositoryAnnotation = "io.entrepot.repository";
/** Left out: the image was exported by its digest. */
export const tagAnnotation = "io.entrepot.tag";

/** Where an image belongs. */
export interface Place {
  readonly upstream: string;
  readonly repository: Repository;
  /** Undefined: it has none, and is pulled by its digest. */
  readonly tag: Tag | undefined;
}

/** What an operator says of images. */
export interface GivenPlace {
  /** For all images, whatever they say; undefined: they say it themselves. */
  readonly upstream?: string | undefined;
  /** For those that do not say it. */
  readonly repository?: Repository | undefined;
  /** For the one image of a layout, when it has no tag. */
  readonly tag?: Tag | undefined;
}

/** `host`: of the name by which clients pull it; undefined: containerd and podman are told no name. */
export function annotationsOf(
  { upstream, repository, tag }: Place,
  digest: Digest,
  host: string | undefined,
): Readonly<Record<string, string>> {
  const short = tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
  return {
    [refNameAnnotation]: short,
    ...(host === undefined || tag === undefined ? {} : { [containerdAnnotation]: `${host}/${short}` }),
    [upstreamAnnotation]: upstream,
    [repositoryAnnotation]: repository,
    ...(tag === undefined ? {} : { [tagAnnotation]: tag }),
  };
}

/** As the image says, and the operator where it does not. Throws LayoutError unnamed, with what to say. */
export function placeOf({ digest, annotations }: LayoutImage, given: GivenPlace): Place {
  const said = saidBy(annotations);
  const upstream = given.upstream ?? said?.upstream;
  const repository = (said?.isOwn ? said.repository : undefined) ?? given.repository ?? said?.repository;
  const tag = said?.tag ?? (said?.isOwn ? undefined : given.tag);
  const name = annotations[refNameAnnotation];
  const shown = name === undefined ? digest : `${JSON.stringify(name.slice(0, 300))} (${digest})`;
  if (upstream === undefined)
    throw new LayoutError(
      "unnamed",
      `image ${shown} does not say which upstream it is of, as images exported by entrepot do: name one of the mirror's with --upstream`,
    );
  if (repository === undefined)
    throw new LayoutError(
      "unnamed",
      `image ${shown} does not say which repository it is of: name it with --repository, such as --repository team/app:1.0`,
    );
  return { upstream, repository, tag };
}

interface Said {
  readonly upstream?: string | undefined;
  readonly repository?: Repository | undefined;
  readonly tag?: Tag | undefined;
  /** By our own annotations. */
  readonly isOwn: boolean;
}

function saidBy(annotations: Readonly<Record<string, string>>): Said | undefined {
  const own = parseRepository(annotations[repositoryAnnotation] ?? "");
  const upstream = annotations[upstreamAnnotation];
  if (own !== undefined && upstream !== undefined && upstream !== "")
    return { upstream, repository: own, tag: parseTag(annotations[tagAnnotation] ?? ""), isOwn: true };
  for (const text of [annotations[containerdAnnotation], annotations[refNameAnnotation]]) {
    if (text === undefined || text === "") continue;
    // A word alone is a tag, as podman and umoci write it.
    if (!/[/:@]/.test(text)) return { tag: parseTag(text), isOwn: false };
    const name = parseImageName(text);
    if (name === undefined) continue;
    const { repository, tag, digest } = name;
    return { repository, tag: parseTag(tag ?? (digest === undefined ? "latest" : "")), isOwn: false };
  }
  return undefined;
}
