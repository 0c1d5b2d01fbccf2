import fc from "fast-check";
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

/** The grammar, told by what its characters may be instead of by one expression (distribution-spec, "Pulling manifests"). */
function kindOf(text: string): "tag" | "digest" | undefined {
  const [algorithm, hex, ...more] = text.split(":");
  const all = (part: string, alphabet: string) => [...part].every((char) => alphabet.includes(char));
  if (hex !== undefined) {
    const length = { sha256: 64, sha512: 128 }[algorithm as string];
    return more.length === 0 && hex.length === length && all(hex, "0123456789abcdef") ? "digest" : undefined;
  }
  const word = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
  const fits = text.length >= 1 && text.length <= 128;
  return fits && word.includes(text[0] as string) && all(text, `${word}.-`) ? "tag" : undefined;
}

t.test("any text is what the grammar says, and reads back as it stood", async () => {
  const hexDigits = fc.string({
    unit: fc.constantFrom(..."0123456789abcdefF"),
    minLength: 60,
    maxLength: 130,
  });
  const texts = fc.oneof(
    fc.string({ unit: fc.constantFrom(..."aZ0_.-:/@%\n é"), maxLength: 8 }),
    fc.string({ unit: fc.constantFrom(..."aZ0_.-"), minLength: 126, maxLength: 130 }),
    fc
      .tuple(fc.constantFrom("sha256", "sha512", "SHA256", "md5", ""), hexDigits)
      .map((parts) => parts.join(":")),
    fc.stringMatching(/^sha256:[0-9a-f]{64}$/),
    fc.stringMatching(/^sha512:[0-9a-f]{128}$/),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const reference = parseReference(text);
      return (
        reference?.kind === kindOf(text) && (reference === undefined || referenceText(reference) === text)
      );
    }),
    { numRuns: 2_000 },
  );
});
