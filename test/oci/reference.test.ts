import t from "tap";
import { parseReference, referenceText } from "../../src/oci/reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

t.test("a tag and a digest are told apart, and read back as they stood", async (t) => {
  const tag = parseReference("latest");
  t.strictSame(tag, { kind: "tag", tag: "latest" });
  t.equal(tag && referenceText(tag), "latest");
  const byDigest = parseReference(digest);
  t.strictSame(byDigest, { kind: "digest", digest });
  t.equal(byDigest && referenceText(byDigest), digest);
});

t.test("a digest without its colon is a tag, as cosign uses it", async (t) => {
  const tag = `sha256-${"a".repeat(64)}`;
  t.strictSame(parseReference(tag), { kind: "tag", tag });
});

t.test("whatever has a colon and is no digest is nothing", async (t) => {
  for (const text of [":", "sha256:", "latest:", "sha256:baddigeststring", `tag@${digest}`, "", "-x"]) {
    t.equal(parseReference(text), undefined, text);
  }
});
