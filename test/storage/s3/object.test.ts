import t from "tap";
import { blobPrefix, digestOfObject, objectKey } from "../../../src/storage/s3/object.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

t.test("keys have the layout of the disk store, after the prefix", async (t) => {
  const digest = digestOf(Buffer.from("x"));
  const hex = digest.slice("sha256:".length);
  t.equal(objectKey("", digest), `blobs/sha256/${hex.slice(0, 2)}/${hex}`);
  t.equal(objectKey("mirror/eu/", digest), `mirror/eu/blobs/sha256/${hex.slice(0, 2)}/${hex}`);
  t.equal(blobPrefix("mirror/eu/"), "mirror/eu/blobs/");
});

t.test("back to the digest; foreign objects are none", async (t) => {
  for (const algorithm of ["sha256", "sha512"] as const) {
    const digest = digestOf(Buffer.from("x"), algorithm);
    for (const prefix of ["", "mirror/"]) t.equal(digestOfObject(prefix, objectKey(prefix, digest)), digest);
  }
  const key = objectKey("mirror/", digestOf(Buffer.from("x")));
  for (const foreign of [
    key.slice(1),
    `${key}0`,
    key.slice(0, -1),
    key.replace("sha256", "md5"),
    key.replace(/blobs\/sha256\/../, "blobs/sha256/zz"),
    key.toUpperCase(),
    "mirror/blobs/",
  ])
    t.equal(digestOfObject("mirror/", foreign), undefined, foreign);
});
