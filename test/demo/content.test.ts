import fc from "fast-check";
import t from "tap";
import { type Content, findContent, upstreamPath } from "../../src/demo/content.ts";
import { makeDigest } from "../../src/oci/digest.ts";

const digest = makeDigest("sha256", "a".repeat(64));
const manifest = makeDigest("sha256", "b".repeat(64));
const blob = Buffer.from("0123456789");
const repository = {
  name: "team/app",
  tags: new Map(["v1", "latest", "1.0", "V2"].map((tag) => [tag, manifest])),
  manifests: new Map([[manifest, { mediaType: "application/vnd.example+json", body: Buffer.from("{}") }]]),
  blobs: new Map([[digest, blob]]),
};
const repositories = new Map([
  [repository.name, repository],
  ["other", { ...repository, name: "other", manifests: new Map(), blobs: new Map() }],
]);
const ask = (path: string, range?: string, method = "GET"): Content =>
  findContent(method, path, range, repositories);
const api = `/${upstreamPath}/v2/`;
const blobPath = `${api}team/app/blobs/${digest}`;

t.test("manifests by tag and digest, with their media type", async (t) => {
  for (const reference of ["latest", manifest]) {
    t.match(ask(`${api}team/app/manifests/${reference}`), {
      status: 200,
      headers: { "content-type": "application/vnd.example+json", "docker-content-digest": manifest },
    });
  }
});

t.test("what is not here is an OCI error", async (t) => {
  const problem = (path: string, method?: string) => {
    const content = ask(path, undefined, method);
    return "code" in content ? `${content.status} ${content.code}` : content.status;
  };
  t.equal(problem(`${api}team/app/manifests/nope`), "404 MANIFEST_UNKNOWN");
  t.equal(problem(`${api}team/app/blobs/${manifest}`), "404 BLOB_UNKNOWN");
  t.equal(problem(`${api}other/blobs/${digest}`), "404 BLOB_UNKNOWN", "a digest grants nothing elsewhere");
  t.equal(problem(`${api}nobody/manifests/latest`), "404 NAME_UNKNOWN");
  t.equal(problem("/v2/team/app/manifests/latest"), "404 NAME_UNKNOWN", "without Artifactory's path");
  t.equal(problem("/etc/../passwd"), "404 NAME_UNKNOWN");
  t.equal(problem(`${api}_catalog`), "404 NAME_UNKNOWN");
  t.equal(problem(`${api}team/app/referrers/${digest}`), "404 UNSUPPORTED");
  t.equal(problem(`${api}team/app/manifests/latest`, "PUT"), "405 UNSUPPORTED");
  t.equal(problem(api), 200);
});

t.test("one range is served", async (t) => {
  const answer = (range: string) => {
    const content = ask(blobPath, range);
    if (!("body" in content)) return t.fail("an error");
    return `${content.status} ${content.headers["content-range"] ?? "-"} ${content.body}`;
  };
  t.equal(answer("bytes=0-1"), "206 bytes 0-1/10 01");
  t.equal(answer("bytes=7-"), "206 bytes 7-9/10 789");
  t.equal(answer("bytes=7-700"), "206 bytes 7-9/10 789");
  t.equal(answer("bytes=-3"), "206 bytes 7-9/10 789");
  t.equal(answer("bytes=-30"), "206 bytes 0-9/10 0123456789");
  t.equal(answer("bytes=10-"), "416 bytes */10 ");
  t.equal(answer("bytes=-0"), "416 bytes */10 ");
  for (const ignored of ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=x-y", ""]) {
    t.equal(answer(ignored), "200 - 0123456789", ignored);
  }
  t.match(ask(blobPath, "bytes=0-1", "HEAD"), { status: 200 }, "a HEAD has no ranges");
});

t.test("whatever range is asked for, the bytes are those it names", async () => {
  const position = fc.nat(12);
  fc.assert(
    fc.property(position, position, (first, last) => {
      const content = ask(blobPath, `bytes=${first}-${last}`);
      if (!("body" in content)) return false;
      const wanted =
        last < first ? blob : first >= blob.length ? Buffer.alloc(0) : blob.subarray(first, last + 1);
      return content.body.equals(wanted);
    }),
  );
});

t.test("tags page by page, in ASCII order", async (t) => {
  const page = (query: string) => {
    const content = ask(`${api}team/app/tags/list${query}`);
    if (!("body" in content)) return t.fail("an error");
    return [JSON.parse(content.body.toString()).tags.join(" "), content.headers.link];
  };
  const link = (last: string) => `<${api}team/app/tags/list?n=2&last=${last}>; rel="next"`;
  t.same(page(""), ["1.0 V2 latest v1", undefined]);
  t.same(page("?n=2"), ["1.0 V2", link("V2")]);
  t.same(page("?n=2&last=V2"), ["latest v1", undefined]);
  t.same(page("?n=0"), ["", undefined]);
  t.same(page("?n=2&last=1"), ["1.0 V2", link("V2")], "the last tag need not exist");
});
