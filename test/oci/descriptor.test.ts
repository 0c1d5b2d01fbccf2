import t from "tap";
import {
  foldsMembers,
  isForeign,
  isJsonObject,
  type Role,
  readDescriptor,
} from "../../src/oci/descriptor.ts";

const digest = `sha256:${"a".repeat(64)}`;
const other = `sha256:${"b".repeat(64)}`;

t.test("an object is neither null nor a list", async (t) => {
  t.equal(isJsonObject({}), true);
  for (const value of [null, undefined, [], "{}", 1, true]) t.equal(isJsonObject(value), false);
});

t.test("the digest is read from the member that names it, and from no other", async (t) => {
  const both = { digest, blobSum: other };
  t.equal(readDescriptor(both, "layer", "digest")?.digest, digest);
  t.equal(readDescriptor(both, "layer", "blobSum")?.digest, other);
  t.equal(readDescriptor({ digest }, "layer", "blobSum"), undefined);
  t.equal(readDescriptor({ blobSum: digest }, "layer", "digest"), undefined);
});

t.test("without a digest we know there is nothing", async (t) => {
  for (const wrong of [undefined, null, 1, {}, [digest], "", "sha256:../../x", digest.toUpperCase()]) {
    t.equal(readDescriptor({ digest: wrong }, "layer", "digest"), undefined);
  }
});

t.test("a size is a whole number from 0 or unknown", async (t) => {
  const sizeOf = (size: unknown): number | undefined =>
    readDescriptor({ digest, size }, "layer", "digest")?.size;
  t.equal(sizeOf(0), 0);
  t.equal(sizeOf(Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
  for (const wrong of [undefined, null, -1, 1.5, "5", 2 ** 53, 1e300, [5], true]) {
    t.equal(sizeOf(wrong), undefined, String(wrong));
  }
});

t.test("cached layers in an index are blobs, everything else is what the list is of", async (t) => {
  const roleOf = (mediaType: unknown, listedAs: Role): Role | undefined =>
    readDescriptor({ digest, mediaType }, listedAs, "digest")?.role;
  const layers = [
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "Application/vnd.oci.image.layer.v1.tar; x=y",
  ];
  for (const type of layers) t.equal(roleOf(type, "manifest"), "layer", type);
  t.equal(roleOf("application/vnd.buildkit.cacheconfig.v0", "manifest"), "config");
  const others = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.example.oci.image.layer.v1",
    "application/vnd.oci.image.layers+json",
    "xapplication/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs-index+json",
    "application/vnd.buildkit.cacheconfigs+json",
    undefined,
    7,
  ];
  for (const type of others) t.equal(roleOf(type, "manifest"), "manifest", String(type));
  for (const type of [...layers, ...others])
    for (const role of ["config", "layer"] as const) t.equal(roleOf(type, role), role, String(type));
});

t.test("foreign by urls or by type", async (t) => {
  t.equal(isForeign({ urls: ["http://registry.example.com/x"] }), true);
  for (const urls of [undefined, [], "http://registry.example.com/x", {}])
    t.equal(isForeign({ urls }), false);
  const foreign = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.NonDistributable.v1.tar+zstd",
  ];
  for (const mediaType of foreign) t.equal(isForeign({ mediaType }), true, mediaType);
  const near = ["foreign", "nondistributable"].flatMap((word) =>
    Array.from(word, (_, at) => `application/vnd.example.${word.slice(0, at)}${word.slice(at + 1)}`),
  );
  for (const mediaType of [...near, "application/vnd.oci.image.layer.v1.tar+gzip", undefined, ["foreign"]]) {
    t.equal(isForeign({ mediaType }), false, String(mediaType));
  }
});

t.test("members in another case are found, ours and strangers are not", async (t) => {
  const members = [
    "manifests",
    "layers",
    "config",
    "fsLayers",
    "blobs",
    "mediaType",
    "digest",
    "blobSum",
    "size",
  ];
  for (const member of [...members, "urls"]) {
    t.equal(foldsMembers({ [member]: 1 }), false, member);
    t.equal(foldsMembers({ [member]: 1, [member.toUpperCase()]: 1 }), true, member);
    t.equal(foldsMembers({ [`x${member}`]: 1, [`${member}x`]: 1 }), false, member);
  }
  t.equal(foldsMembers({ "url\u017f": 1 }), true, "the long s");
  t.equal(foldsMembers({ annotations: {}, subject: {}, history: [], signatures: [], data: "" }), false);
  t.equal(foldsMembers({}), false);
});
