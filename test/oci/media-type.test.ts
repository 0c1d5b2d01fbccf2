import fc from "fast-check";
import t from "tap";
import { bareMediaType, isGenericMediaType, manifestAccept, mediaTypes } from "../../src/oci/media-type.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

t.test("parameters, space and case are dropped", async (t) => {
  const type = mediaTypes.ociManifest;
  for (const header of [
    type,
    `${type}; charset=utf-8`,
    `${type};charset=utf-8`,
    ` ${type} ;q=1;x`,
    type.toUpperCase(),
  ]) {
    t.equal(bareMediaType(header), type, header);
  }
  t.equal(bareMediaType("a/b"), "a/b");
  t.equal(bareMediaType(["a/b; c=d", "e/f"]), "a/b", "a server that says it twice");
  t.equal(bareMediaType([]), undefined);
  t.equal(bareMediaType("0!#$&^_.+-z/9!#$&^_.+-z"), "0!#$&^_.+-z/9!#$&^_.+-z");
});

t.test("what is no media type is undefined", async (t) => {
  const wrong = [
    undefined,
    "",
    ";",
    "; charset=utf-8",
    "json",
    "/json",
    "application/",
    "application/json/x",
    "a/b, c/d",
    "a /b",
    "*/*",
    "application/*",
    "a/b\r\nX-Evil: 1",
    ".a/b",
    "a/.b",
    "é/b",
  ];
  for (const header of wrong) t.equal(bareMediaType(header), undefined, JSON.stringify(header));
});

t.test("the alphabet, character by character", async (t) => {
  const all = Array.from({ length: 0x250 }, (_, code) => String.fromCharCode(code));
  const taken = (before: string, after: string): string =>
    all.filter((c) => bareMediaType(`${before}${c}${after}`) === `${before}${c}${after}`).join("");
  const first = "0123456789abcdefghijklmnopqrstuvwxyz";
  const later = "!#$&+-.0123456789^_abcdefghijklmnopqrstuvwxyz";
  t.equal(taken("", "/b"), first);
  t.equal(taken("a/", ""), first);
  t.equal(taken("a", "/b"), later);
  t.equal(taken("a/b", ""), later);
});

t.test("each half has at most 127 characters", async (t) => {
  const half = "a".repeat(127);
  t.equal(bareMediaType(`${half}/${half}`), `${half}/${half}`);
  t.equal(bareMediaType(`${half}a/${half}`), undefined);
  t.equal(bareMediaType(`${half}/${half}a`), undefined);
});

t.test("types that say nothing about a manifest", async (t) => {
  const generic = [
    undefined,
    "application/octet-stream",
    "binary/octet-stream",
    "application/json",
    "text/plain",
    "text/json",
    "text/html",
  ];
  for (const type of generic) t.equal(isGenericMediaType(type), true, type ?? "none");
  for (const type of [mediaTypes.ociIndex, "application/vnd.example+json", "application/text/"]) {
    t.equal(isGenericMediaType(type), false, type);
  }
});

t.test("upstream is asked for every manifest type, old ones last, then anything", async (t) => {
  const ranges = manifestAccept.split(", ").map((range) => range.split(";q="));
  const { octetStream, ...manifests } = mediaTypes;
  t.strictSame(new Set(ranges.map(([type]) => type)), new Set([...Object.values(manifests), "*/*"]));
  t.notOk(manifestAccept.includes(octetStream));
  const quality = new Map(ranges.map(([type, q]) => [type, Number(q ?? 1)]));
  for (const type of [mediaTypes.dockerManifestV1, mediaTypes.dockerManifestV1Signed]) {
    t.ok(Number(quality.get(type)) < Number(quality.get(mediaTypes.dockerManifest)));
    t.ok(Number(quality.get(type)) > Number(quality.get("*/*")));
  }
});

t.test("whatever stands around it, a type is itself or nothing", async () => {
  const half = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,20}$/);
  const spaces = fc.constantFrom("", " ", "\t", "  ");
  const parameters = fc.string({ unit: fc.constantFrom(...'ab=;,"/ *'), maxLength: 12 });
  fc.assert(
    fc.property(half, half, spaces, spaces, parameters, (type, subtype, before, after, more) => {
      const written = `${before}${type}/${subtype}${after}`;
      const wanted = `${type}/${subtype}`.toLowerCase();
      return bareMediaType(written) === wanted && bareMediaType(`${written};${more}`) === wanted;
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."aB0/;. \r\n*é,"), maxLength: 12 }), (header) => {
      const type = bareMediaType(header);
      if (type === undefined) return true;
      // It stood there, up to the first semicolon, and can be sent as a header.
      return header.split(";")[0]?.trim().toLowerCase() === type && /^[!-~]+$/.test(type);
    }),
    { numRuns: 2_000 },
  );
});

t.test("a hostile header takes no time", async (t) => {
  const spent = cpuTime(() => {
    for (const header of ["a".repeat(4e6), " ".repeat(4e6), `${"a/".repeat(2e6)}`, ";".repeat(4e6)]) {
      t.equal(bareMediaType(header), undefined);
    }
  });
  t.ok(spent < 1000, `${spent} ms`);
});
