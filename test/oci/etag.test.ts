import t from "tap";
import { makeDigest } from "../../src/oci/digest.ts";
import { etagOf, ifRangeMatches, matchesEtag } from "../../src/oci/etag.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

const digest = makeDigest("sha256", "a".repeat(64));
const etag = etagOf(digest);
const date = "Tue, 15 Nov 1994 12:45:26 GMT";

t.test("the tag is the digest in quotes, strong", async (t) => {
  t.equal(etag, `"sha256:${"a".repeat(64)}"`);
});

t.test("If-None-Match names it alone, weak, in a list, or with a star", async (t) => {
  const headers = [
    etag,
    `W/${etag}`,
    "*",
    `"x", ${etag}`,
    `"x",W/"y" , W/${etag},"z"`,
    `,, ${etag}`,
    `\t"x"\t,\t${etag}\t`,
    `${etag}, "z`,
    `"a,b", ${etag}`,
    `"", ${etag}`,
    `"\xe9!#~", ${etag}`,
  ];
  for (const header of headers) t.equal(matchesEtag(header, etag), true, header);
});

t.test("everything else does not", async (t) => {
  const headers = [
    undefined,
    "",
    ",",
    "**",
    "*, *",
    digest,
    `'${digest}'`,
    etag.slice(0, -1),
    etag.slice(1),
    etag.toUpperCase(),
    `w/${etag}`,
    `W/ ${etag}`,
    `"x${etag}"`,
    `x${etag}`,
    `"x" ${etag}`,
    `${etag}x`,
    `"x y", ${etag}`,
    `"x\x7f", ${etag}`,
    `"${etagOf(makeDigest("sha256", "b".repeat(64)))}`,
    date,
  ];
  for (const header of headers) t.equal(matchesEtag(header, etag), false, JSON.stringify(header));
});

t.test("asking twice gives the same answer twice", async (t) => {
  for (const header of [`${etag}, "x"`, `"x", ${etag}`]) {
    t.equal(matchesEtag(header, etag), true);
    t.equal(matchesEtag(header, etag), true);
  }
});

t.test("a hostile list takes no time", async (t) => {
  const spent = cpuTime(() => {
    for (const unit of [" ", ",", '"', '"x",', "W/", "W/,", '" ']) {
      t.equal(matchesEtag(`${unit.repeat(32 * 1024)}!`, etag), false);
    }
  });
  t.ok(spent < 1000, `${spent} ms`);
});

t.test("If-Range lets Range count when absent or the very tag", async (t) => {
  t.equal(ifRangeMatches(undefined, etag), true);
  t.equal(ifRangeMatches(etag, etag), true);
  for (const header of ["", "*", `W/${etag}`, digest, `${etag}, "x"`, '"x"', date]) {
    t.equal(ifRangeMatches(header, etag), false, header);
  }
});
