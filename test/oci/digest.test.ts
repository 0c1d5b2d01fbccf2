import fc from "fast-check";
import t from "tap";
import { digestAlgorithm, digestHex, makeDigest, parseDigest } from "../../src/oci/digest.ts";

const hex64 = "0123456789abcdef".repeat(4);
const hex128 = hex64.repeat(2);

t.test("the two registered algorithms are digests and come apart", async (t) => {
  for (const [algorithm, hex] of [
    ["sha256", hex64],
    ["sha512", hex128],
  ] as const) {
    const digest = parseDigest(`${algorithm}:${hex}`);
    t.equal(digest, `${algorithm}:${hex}`);
    if (digest === undefined) continue;
    t.equal(digestAlgorithm(digest), algorithm);
    t.equal(digestHex(digest), hex);
    t.equal(makeDigest(algorithm, hex), digest);
  }
});

t.test("anything else is no digest", async (t) => {
  const wrong = [
    "",
    ":",
    "sha256",
    "sha256:",
    "sha512",
    `sha256:${hex64.slice(1)}`,
    `sha256:${hex64}0`,
    `sha256:${hex128}`,
    `sha512:${hex64}`,
    `sha512:${hex128}0`,
    `sha256:${hex64.toUpperCase()}`,
    `SHA256:${hex64}`,
    `sha384:${"0".repeat(96)}`,
    `md5:${"0".repeat(32)}`,
    `sha256:${"g".repeat(64)}`,
    `sha256:${"０".repeat(64)}`,
    ` sha256:${hex64}`,
    `sha256:${hex64}\n`,
    `x\nsha256:${hex64}`,
    `sha256:${hex64},sha256:${hex64}`,
    `"sha256:${hex64}"`,
    "sha256:../../../../etc/passwd",
    `sha256:../${"0".repeat(61)}`,
    `sha256/${hex64}`,
    `sha256+b64:${hex64}`,
    "sha256:baddigeststring",
  ];
  for (const text of wrong) t.equal(parseDigest(text), undefined, JSON.stringify(text));
});

t.test("a digest is built from a finished hash only", async (t) => {
  const wrong = [
    ["sha256", hex128],
    ["sha512", hex64],
    ["sha256", ""],
    ["sha256", hex64.toUpperCase()],
  ] as const;
  for (const [algorithm, hex] of wrong) t.throws(() => makeDigest(algorithm, hex), RangeError);
});

t.test("the message of a refused hash is bounded and names the algorithm", async (t) => {
  t.throws(() => makeDigest("sha512", "f".repeat(1_000_000)), {
    message: /^not a sha512 in lower-case hex: f{140}$/,
  });
});

t.test("a digest never holds what a path or a header could mistake", async () => {
  fc.assert(
    fc.property(fc.string({ minLength: 62, maxLength: 66 }), (text) => {
      const digest = parseDigest(`sha256:${text}`);
      return digest === undefined || /^[0-9a-f]+$/.test(digestHex(digest));
    }),
  );
});
