// Media types of manifests: what we ask upstream for, and what we may serve.

export const mediaTypes = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifestV1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerManifestV1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  ociArtifact: "application/vnd.oci.artifact.manifest.v1+json",
  octetStream: "application/octet-stream",
} as const;

/**
 * The one Accept list for every manifest request upstream, whatever the client accepts: registries answer 404
 * or a rewritten manifest to anything narrower (docs/clients.md 13 and 14), and the cache must not depend on
 * who asked first. `*\/*` last, for media types not invented yet.
 */
export const manifestAccept = [
  mediaTypes.ociIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
  mediaTypes.ociArtifact,
  `${mediaTypes.dockerManifestV1Signed};q=0.5`,
  `${mediaTypes.dockerManifestV1};q=0.5`,
  "*/*;q=0.1",
].join(", ");

/** `type/subtype` of RFC 6838 section 4.2, each at most 127 characters: what we read becomes a header we send. */
const grammar = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/;

/** The type without parameters, lower case, the first of several; undefined for an empty or malformed header. */
export function bareMediaType(header: string | readonly string[] | undefined): string | undefined {
  const bare = [header].flat()[0]?.split(";", 1)[0]?.trim().toLowerCase();
  return bare !== undefined && grammar.test(bare) ? bare : undefined;
}

/** Types that say nothing about a manifest; the body has to tell (docs/clients.md 12). */
export function isGenericMediaType(type: string | undefined): boolean {
  return (
    type === undefined ||
    type === mediaTypes.octetStream ||
    type === "binary/octet-stream" ||
    type === "application/json" ||
    type.startsWith("text/")
  );
}
