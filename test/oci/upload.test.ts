import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import type { Repository } from "../../src/oci/name.ts";
import { parseUpload, type Upload, uploadQuery } from "../../src/oci/upload.ts";

const digest = `sha256:${"a".repeat(64)}` as Digest;
const other = `sha512:${"b".repeat(128)}` as Digest;
const nothing: Upload = {
  session: undefined,
  digest: undefined,
  mount: undefined,
  from: undefined,
  state: [],
};

function parse(session: string | undefined, query = ""): ReturnType<typeof parseUpload> {
  return parseUpload(session, new URLSearchParams(query));
}

t.test("sessions are opaque, within a grammar no path can break out of", async (t) => {
  for (const session of ["6fd9a1c0-1b2c-4f5e-8a57-0d2b9f3b7d11", "a.b_c~d=", "1..0", "AbC=="]) {
    t.strictSame(parse(session), { ...nothing, session }, session);
  }
  for (const session of ["a:b", "a+b", "a@b", "a b", "a%2fb", "a;b", "\xe9", "a/b", "a\nb"]) {
    t.equal(parse(session), "bad_upload", JSON.stringify(session));
  }
});

t.test("digest, mount and from are read; the rest is upstream's, in its order", async (t) => {
  t.strictSame(parse("s", `_state=abc%3D%3D&digest=${digest}&part=2&part=1`), {
    ...nothing,
    session: "s",
    digest,
    state: [
      ["_state", "abc=="],
      ["part", "2"],
      ["part", "1"],
    ],
  });
  t.strictSame(parse(undefined, `mount=${other}&from=team/app&ns=docker.io`), {
    ...nothing,
    mount: other,
    from: "team/app" as Repository,
  });
  t.strictSame(parse(undefined, "mount=&from=&digest="), nothing, "without a value there is nothing");
  t.match(parse("s", `digest=${digest}&digest=${digest}`), { digest }, "said twice is said");
});

t.test("what is malformed is told apart", async (t) => {
  t.equal(parse("s", "digest=sha256:short"), "bad_digest");
  t.equal(parse("s", `digest=${digest.toUpperCase()}`), "bad_digest");
  t.equal(parse(undefined, "mount=../../etc"), "bad_digest");
  t.equal(parse(undefined, `mount=${digest}&from=../x`), "bad_name");
  for (const query of ["_state=%00", "_state=%0d%0aX:1", "_state=%ff", "a%20b=1", `${"n".repeat(65)}=1`]) {
    t.equal(parse("s", query), "bad_upload", query);
  }
  const many = (count: number): string => Array.from({ length: count }, (_, at) => `s${at}=1`).join("&");
  t.type(parse("s", many(16)), "object");
  t.equal(parse("s", many(17)), "bad_upload");
});

t.test("arguments that contradict each other are none: upstream might follow the other one", async (t) => {
  for (const [session, query] of [
    ["s", `digest=${digest}&digest=${other}`],
    ["s", `digest=${digest}&digest=`],
    ["s", `digest=${digest}&mount=${digest}`],
    ["s", `mount=${digest}&from=team/app`],
    [undefined, `mount=${digest}&from=team/app&digest=${other}`],
    [undefined, `mount=${digest}&mount=${other}&from=team/app`],
    [undefined, `mount=${digest}&from=team/app&from=secret/app`],
  ] as const) {
    t.equal(parse(session, query), "bad_upload", query);
  }
  t.match(parse(undefined, `mount=${digest}&from=team/app&digest=${digest}`), { mount: digest, digest });
});

t.test("the query to upstream says the same again", async (t) => {
  const query = `_state=a%2Bb%3D&mount=${encodeURIComponent(digest)}&from=team%2Fapp&digest=${encodeURIComponent(digest)}`;
  const upload = parse(undefined, query);
  t.type(upload, "object");
  t.equal(uploadQuery(upload as Upload).toString(), query);
});
