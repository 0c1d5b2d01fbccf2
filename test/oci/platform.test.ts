import t from "tap";
import { indexEntries, isFor, otherPlatforms, type Platform, parsePlatform } from "../../src/oci/platform.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;

t.test("platforms as people write them", async (t) => {
  t.same(parsePlatform("linux/amd64"), { os: "linux", architecture: "amd64", variant: undefined });
  t.same(parsePlatform("linux/arm64/v8"), { os: "linux", architecture: "arm64", variant: "v8" });
  for (const text of ["linux", "linux/", "linux/a/b/c", "Linux/amd64", ""])
    t.equal(parsePlatform(text), undefined);
});

t.test("which entries of an index are for a platform", async (t) => {
  const entries = indexEntries(
    Buffer.from(
      JSON.stringify({
        manifests: [
          { digest: digest("a"), platform: { os: "linux", architecture: "arm64", variant: "v8" } },
          { digest: digest("b"), platform: { os: "linux", architecture: "amd64" } },
          { digest: digest("c") },
          {
            digest: digest("d"),
            platform: { os: "unknown", architecture: "unknown" },
            annotations: { "vnd.docker.reference.digest": digest("b") },
          },
          { digest: "none" },
          7,
        ],
      }),
    ),
  );
  t.equal(entries.size, 4);
  t.equal(entries.get(digest("d") as never)?.attests, digest("b"));
  const wanted = (text: string) => {
    const platform = parsePlatform(text);
    return [...entries]
      .flatMap(([each, entry]) => (isFor(entry, platform ? [platform] : []) ? [each[7]] : []))
      .join("");
  };
  t.equal(wanted("linux/arm64"), "ac", "any variant, and what names no platform");
  t.equal(wanted("linux/arm64/v8"), "ac");
  t.equal(wanted("linux/arm64/v7"), "c");
  t.equal(wanted("linux/amd64"), "bc");
  t.same(indexEntries(Buffer.from('{"layers":[]}')), new Map());
});

t.test("a variant that is left out is the one containerd takes it for", async (t) => {
  const isWanted = (wanted: string, stated: string) =>
    isFor({ platform: parsePlatform(stated), attests: undefined }, [parsePlatform(wanted) as Platform]);
  t.ok(isWanted("linux/arm64/v8", "linux/arm64"));
  t.ok(isWanted("linux/arm64/8", "linux/arm64/v8"));
  t.ok(isWanted("linux/arm/v7", "linux/arm"));
  t.ok(isWanted("linux/arm/v7", "linux/arm/7"));
  t.ok(isWanted("linux/arm/v6", "linux/arm/6"));
  t.ok(isWanted("linux/amd64/v1", "linux/amd64"));
  t.notOk(isWanted("linux/arm64/v9", "linux/arm64"));
  t.notOk(isWanted("linux/arm/v6", "linux/arm"));
  t.notOk(isWanted("linux/amd64/v3", "linux/amd64"));
  t.ok(isWanted("linux/arm", "linux/arm/v6"), "without one any is wanted");
});

t.test(
  "what a copy for some platforms leaves out of an index: other images, and attestations of them",
  (t) => {
    const attests = (of: string) => ({ annotations: { "vnd.docker.reference.digest": digest(of) } });
    const unknown = { platform: { os: "unknown", architecture: "unknown" } };
    const index = Buffer.from(
      JSON.stringify({
        manifests: [
          { digest: digest("a"), platform: { os: "linux", architecture: "amd64" } },
          { digest: digest("b"), platform: { os: "linux", architecture: "arm64", variant: "v8" } },
          { digest: digest("c"), ...unknown, ...attests("a") },
          { digest: digest("d"), ...unknown, ...attests("b") },
          { digest: digest("e"), ...unknown, ...attests("f") },
          { digest: digest("0") },
        ],
      }),
    );
    const others = (...platforms: string[]) =>
      [
        ...otherPlatforms(
          index,
          platforms.flatMap((text) => parsePlatform(text) ?? []),
        ),
      ].map((each) => each[7]);
    t.same(others("linux/arm64"), ["a", "c", "e"], "one that names no platform may be for any");
    t.same(others("linux/amd64", "linux/arm64"), ["e"]);
    t.same(others(), [], "none in particular: all of it");
    t.end();
  },
);
