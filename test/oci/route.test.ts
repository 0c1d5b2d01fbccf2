import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t, { type Test } from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import type { Repository, Tag } from "../../src/oci/name.ts";
import { parseReference, referenceText } from "../../src/oci/reference.ts";
import { type Page, parseTarget, type Route, type RouteProblem } from "../../src/oci/route.ts";
import { type Upload, uploadQuery } from "../../src/oci/upload.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

const digest = `sha256:${"a".repeat(64)}` as Digest;
const digest512 = `sha512:${"b".repeat(128)}` as Digest;
const noPage: Page = { n: undefined, last: undefined };

/** Where a route hangs: no prefix and no `ns` unless told. */
interface Base {
  prefix?: string;
  ns?: string;
}

function base({ prefix = "", ns }: Base): { prefix: string; ns: string | undefined } {
  return { prefix, ns };
}

function ping(at: Base = {}): Route {
  return { kind: "ping", ...base(at) };
}

function byTag(repository: string, tag: string, at: Base = {}): Route {
  const reference = { kind: "tag", tag: tag as Tag } as const;
  return { kind: "manifest", repository: repository as Repository, reference, ...base(at) };
}

function byDigest(repository: string, wanted: Digest, at: Base = {}): Route {
  const reference = { kind: "digest", digest: wanted } as const;
  return { kind: "manifest", repository: repository as Repository, reference, ...base(at) };
}

function blob(repository: string, wanted: Digest, at: Base = {}): Route {
  return { kind: "blob", repository: repository as Repository, digest: wanted, ...base(at) };
}

function tags(repository: string, page: Page = noPage, at: Base = {}): Route {
  return { kind: "tags", repository: repository as Repository, page, ...base(at) };
}

function referrers(repository: string, wanted: Digest, artifactType?: string, at: Base = {}): Route {
  return {
    kind: "referrers",
    repository: repository as Repository,
    digest: wanted,
    artifactType,
    ...base(at),
  };
}

const noUpload: Upload = {
  session: undefined,
  digest: undefined,
  mount: undefined,
  from: undefined,
  state: [],
};

function upload(repository: string, at: Base = {}, changes: Partial<Upload> = {}): Route {
  return {
    kind: "upload",
    repository: repository as Repository,
    upload: { ...noUpload, ...changes },
    ...base(at),
  };
}

function catalog(page: Page = noPage, at: Base = {}): Route {
  return { kind: "catalog", page, ...base(at) };
}

function check(t: Test, cases: readonly (readonly [string, Route | RouteProblem])[]): void {
  for (const [target, expected] of cases) t.strictSame(parseTarget(target), expected, target.slice(0, 120));
}

t.test("the endpoints of the spec", async (t) => {
  check(t, [
    ["/v2/", ping()],
    ["/v2", ping()],
    ["/v2/app/manifests/latest", byTag("app", "latest")],
    ["/v2/library/app/manifests/V1.2_x-y", byTag("library/app", "V1.2_x-y")],
    [`/v2/app/manifests/${digest}`, byDigest("app", digest)],
    [`/v2/app/manifests/${digest512}`, byDigest("app", digest512)],
    [`/v2/a/b/c/blobs/${digest}`, blob("a/b/c", digest)],
    [`/v2/app/blobs/${digest512}`, blob("app", digest512)],
    ["/v2/app/tags/list", tags("app")],
    [`/v2/app/referrers/${digest}`, referrers("app", digest)],
    ["/v2/app/blobs/uploads/", upload("app")],
    ["/v2/app/blobs/uploads", upload("app")],
    [
      "/v2/a/b/blobs/uploads/6fd9a1c0-1b2c-4f5e-8a57-0d2b9f3b7d11",
      upload("a/b", {}, { session: "6fd9a1c0-1b2c-4f5e-8a57-0d2b9f3b7d11" }),
    ],
    [
      `/v2/app/blobs/uploads/?mount=${digest}&from=b`,
      upload("app", {}, { mount: digest, from: "b" as Repository }),
    ],
    ["/v2/_catalog", catalog()],
  ]);
});

t.test("what is nothing of ours is unknown", async (t) => {
  const targets = [
    "/",
    "/?ns=docker.io",
    "/healthz",
    "/v1/",
    "/v1/_ping",
    "/v1/app/tags/list",
    "/x/_catalog",
    "/xyz",
    "/xv2",
    "/xv2/",
    "/v2x/",
    "/V2/",
    "/v2/app",
    "/v2/app/",
    "/v2/v2",
    "/v2/app/manifests",
    "/v2/app/manifests/",
    "/v2/app/manifests/latest/",
    "/v2/app/manifests/a/b",
    "/v2/manifests/latest",
    "/v2/blobs/uploads/",
    "/v2/tags/list",
    "/v2/app/tags",
    "/v2/app/tags/lists",
    "/v2/tags/list/",
    "/v2/app/Manifests/latest",
    "/v2/_catalog/x",
    "/v2/_catalog/x/",
    "/v2/app/_oci/ext/discover",
    `/v2/app/blobs/uploads/id/${digest}`,
    `/v2/app/signatures/${digest}`,
    `/extensions/v2/app/signatures/${digest}`,
  ];
  for (const target of targets) t.equal(parseTarget(target), "unknown", target);
});

t.test("bad names, references and digests are told apart", async (t) => {
  check(t, [
    ["/v2/App/manifests/latest", "bad_name"],
    ["/v2/_app/tags/list", "bad_name"],
    ["/v2/a--/tags/nolist", "bad_name"],
    [`/v2/a__-b/blobs/${digest}`, "bad_name"],
    ["/v2/App/blobs/uploads/", "bad_name"],
    [`/v2/${"a".repeat(256)}/tags/list`, "bad_name"],
    ["/v2/app/manifests/sha256:baddigeststring", "bad_reference"],
    ["/v2/app/manifests/:", "bad_reference"],
    ["/v2/app/manifests/-latest", "bad_reference"],
    [`/v2/app/manifests/${"a".repeat(129)}`, "bad_reference"],
    ["/v2/app/blobs/:", "bad_digest"],
    ["/v2/app/blobs/latest", "bad_digest"],
    [`/v2/app/blobs/${digest}0`, "bad_digest"],
    [`/v2/app/blobs/${digest.toUpperCase()}`, "bad_digest"],
    ["/v2/app/referrers/latest", "bad_digest"],
    ["/v2/app/referrers/sha256:bad?artifactType=x", "bad_digest"],
  ]);
});

t.test("names of 255 and tags of 128 characters are served", async (t) => {
  const name = "a".repeat(255);
  const tag = "t".repeat(128);
  check(t, [[`/v2/${name}/manifests/${tag}`, byTag(name, tag)]]);
});

t.test("a repository may hold the words of the endpoints", async (t) => {
  check(t, [
    ["/v2/v2/tags/list", tags("v2")],
    ["/v2/v2/v2/tags/list", tags("v2/v2")],
    ["/v2/v2/manifests/v2", byTag("v2", "v2")],
    ["/v2/app/v2/manifests/latest", byTag("app/v2", "latest")],
    ["/v2/manifests/manifests/latest", byTag("manifests", "latest")],
    ["/v2/a/manifests/b/manifests/manifests", byTag("a/manifests/b", "manifests")],
    ["/v2/a/blobs/manifests/uploads", byTag("a/blobs", "uploads")],
    ["/v2/a/blobs/uploads/manifests/latest", byTag("a/blobs/uploads", "latest")],
    [`/v2/a/blobs/uploads/blobs/${digest}`, blob("a/blobs/uploads", digest)],
    ["/v2/a/blobs/uploads/blobs/uploads/", upload("a/blobs/uploads")],
    [`/v2/a/tags/list/referrers/${digest}`, referrers("a/tags/list", digest)],
    ["/v2/tags/tags/list", tags("tags")],
    ["/v2/tags/list/tags/list", tags("tags/list")],
    ["/v2/a/manifests/tags/list", tags("a/manifests")],
    ["/v2/docker.io/library/app/manifests/latest", byTag("docker.io/library/app", "latest")],
  ]);
});

t.test("what stands before the first /v2 is the prefix, as it is written", async (t) => {
  check(t, [
    ["/pfx/v2/", ping({ prefix: "pfx" })],
    ["/pfx/v2", ping({ prefix: "pfx" })],
    ["/a/b/v2/app/manifests/latest", byTag("app", "latest", { prefix: "a/b" })],
    [`/A/B.c/V2/v2/app/blobs/${digest}`, blob("app", digest, { prefix: "A/B.c/V2" })],
    ["/a/v2/v2/tags/list", tags("v2", noPage, { prefix: "a" })],
    ["/v2x/v2/_catalog", catalog(noPage, { prefix: "v2x" })],
    ["/v/v2/app/blobs/uploads/", upload("app", { prefix: "v" })],
    [`/x/v2/app/referrers/${digest}`, referrers("app", digest, undefined, { prefix: "x" })],
    ["/...~@+=/v2/", ping({ prefix: "...~@+=" })],
  ]);
});

t.test("ns is read with its port, and goes with every kind of route", async (t) => {
  const ns = "registry.example.com:5000";
  check(t, [
    ["/v2/?ns=docker.io", ping({ ns: "docker.io" })],
    ["/v2?ns=docker.io", ping({ ns: "docker.io" })],
    [`/v2/app/manifests/latest?ns=${ns}`, byTag("app", "latest", { ns })],
    [`/v2/app/blobs/${digest}?ns=${encodeURIComponent(ns)}`, blob("app", digest, { ns })],
    [`/v2/app/tags/list?ns=${ns}`, tags("app", noPage, { ns })],
    [`/v2/app/referrers/${digest}?ns=${ns}`, referrers("app", digest, undefined, { ns })],
    [`/v2/app/blobs/uploads/?ns=${ns}`, upload("app", { ns })],
    [`/v2/_catalog?ns=${ns}`, catalog(noPage, { ns })],
    [`/p/v2/docker.io/app/tags/list?ns=${ns}`, tags("docker.io/app", noPage, { prefix: "p", ns })],
    ["/v2/?ns=", ping()],
    ["/v2/?NS=docker.io", ping()],
    ["/v2/?ns=a&ns=a", ping({ ns: "a" })],
    ["/v2/?ns=a&ns=b", "bad_path"],
    ["/v2/?ns=a&x=1&ns=", "bad_path"],
  ]);
});

t.test("page arguments", async (t) => {
  const page = (n: number | undefined, last?: string): Page => ({ n, last });
  check(t, [
    ["/v2/app/tags/list?n=0", tags("app", page(0))],
    ["/v2/app/tags/list?n=1000&last=v1.2", tags("app", page(1000, "v1.2"))],
    ["/v2/app/tags/list?last=v1.2", tags("app", page(undefined, "v1.2"))],
    ["/v2/app/tags/list?n=&last=", tags("app")],
    ["/v2/app/tags/list?n=007", tags("app", page(7))],
    ["/v2/app/tags/list?n=5&n=6", tags("app", page(5))],
    ["/v2/_catalog?n=2&last=team%2Fapp", catalog(page(2, "team/app"))],
    ["/v2/_catalog?n=x", "bad_page"],
  ]);
  for (const n of ["-1", "%2B1", "1.5", "1e3", "0x10", "%201", "1%0A", "NaN", "Infinity", "1%23", "all"]) {
    t.equal(parseTarget(`/v2/app/tags/list?n=${n}`), "bad_page", n);
  }
});

t.test("a huge page is a large page", async (t) => {
  for (const n of ["100000", "100001", "2147483647", "99999999999999999999", "9".repeat(400)]) {
    t.strictSame(parseTarget(`/v2/app/tags/list?n=${n}`), tags("app", { n: 100_000, last: undefined }), n);
    t.strictSame(parseTarget(`/v2/_catalog?n=${n}`), catalog({ n: 100_000, last: undefined }), n);
  }
});

t.test("odd values of last are read once and can always be sent on", async (t) => {
  const odd = ["../../x", "a b", "a&n=1", "%", "é", "\u{1f600}", "a\0b", "//x", "%2e%2e", "a+b", "#"];
  for (const last of odd) {
    const target = `/v2/app/tags/list?last=${encodeURIComponent(last)}`;
    t.strictSame(parseTarget(target), tags("app", { n: undefined, last }), last);
  }
  for (const raw of ["%", "%zz", "%ff", "%ed%a0%80", "\xe9", "a?b", "%00"]) {
    const route = parseTarget(`/v2/app/tags/list?last=${raw}`);
    const last = typeof route === "object" && route.kind === "tags" ? route.page.last : undefined;
    t.ok(last, raw);
    t.doesNotThrow(() => encodeURIComponent(last ?? "\ud800"), raw);
  }
});

t.test("artifactType is a media type, with or without its plus escaped", async (t) => {
  const type = "application/vnd.example.sbom+json";
  check(t, [
    [`/v2/app/referrers/${digest}?artifactType=${encodeURIComponent(type)}`, referrers("app", digest, type)],
    [`/v2/app/referrers/${digest}?artifactType=${type}`, referrers("app", digest, type)],
    [`/v2/app/referrers/${digest}?artifactType=a+b+c/d`, referrers("app", digest, "a+b+c/d")],
    [`/v2/app/referrers/${digest}?artifactType=`, referrers("app", digest)],
  ]);
});

t.test("paths this server may not look at", async (t) => {
  const targets = [
    "",
    "*",
    "v2/",
    "?ns=docker.io",
    "http://evil.example.com/v2/",
    "https://evil.example.com/v2/app/manifests/latest",
    "evil.example.com:443",
    "//v2/",
    "//evil.example.com/v2/",
    "/v2//",
    "/v2//app/tags/list",
    "/v2/app//tags/list",
    "/v2/app/tags/list//",
    "///",
    "/v2/../v2/",
    "/../v2/",
    "/./v2/",
    "/v2/.",
    "/v2/..",
    "/v2/./app/tags/list",
    "/v2/app/../b/tags/list",
    "/v2/app/manifests/..",
    "/v2/app/manifests/.",
    "/v2/app/blobs/uploads/..",
    "/v2/app/..;/tags/list",
    "/v2/app;x=1/tags/list",
    "/v2/%2e%2e/tags/list",
    "/v2/.%2e/tags/list",
    "/v2/app%00/tags/list",
    "/v2/app/manifests/latest%0d%0aX-Evil:1",
    "/v2/%c0%ae%c0%ae/tags/list",
    "/v2/\xc0\xae\xc0\xae/tags/list",
    "/v2/%252e%252e/tags/list",
    "/v2\\app\\tags\\list",
    "/v2/app/..\\..\\tags/list",
    "/\\evil.example.com/v2/",
    "/v2/app\0/tags/list",
    "/v2/app /tags/list",
    "/v2/app\t/tags/list",
    "/v2/app\n/tags/list",
    "/v2/app/tags/list\n",
    "/v2/\xe9/tags/list",
    "/v2/app/tags/list#x",
    "/v2/#/../x",
    "/v2/app/tags/list&n=1",
    "/v2/app/{x}/tags/list",
    "/v2/app/<x>/tags/list",
    '/v2/app/"x"/tags/list',
  ];
  for (const target of targets) t.equal(parseTarget(target), "bad_path", JSON.stringify(target));
});

t.test("a path is decoded once, as general encoders of clients write it", async (t) => {
  check(t, [
    [`/v2/app/manifests/${encodeURIComponent(digest)}`, byDigest("app", digest)],
    [`/v2/app/manifests/${digest.replace(":", "%3a")}`, byDigest("app", digest)],
    [`/v2/app/blobs/${encodeURIComponent(digest512)}`, blob("app", digest512)],
    [`/v2/app/referrers/${encodeURIComponent(digest)}`, referrers("app", digest)],
    ["/v2/team%2Fapp/manifests/1", byTag("team/app", "1")],
    ["/v2/team%2fapp/tags/list", tags("team/app")],
    ["/v2/a%2Fb/c%2Fd/tags/list", tags("a/b/c/d")],
    ["/v2/team%2Fapp/blobs/uploads/", upload("team/app")],
    ["/v2/team%2Fapp/blobs/uploads/a%3Db", upload("team/app", {}, { session: "a=b" })],
    ["/hub/v2/team%2Fapp/tags/list?ns=a%2Fb", tags("team/app", noPage, { prefix: "hub", ns: "a/b" })],
    ["/v2/%61pp/manifests/%31", byTag("app", "1")],
    ["/v2/app/manifests/a%5Fb", byTag("app", "a_b")],
    ["/v2/App%2Fx/tags/list", "bad_name"],
    ["/v2/app/blobs/sha256%3Abad", "bad_digest"],
    ["/v2/app/manifests/%3A", "bad_reference"],
  ]);
});

t.test("escapes that stay refused", async (t) => {
  const targets = [
    "/v2/app/manifests/1%2e0",
    "/v2/app/manifests/1%2E0",
    "/v2/a%2Fb%2F%2e%2e/tags/list",
    "/v2/app/manifests/1%00",
    "/v2/app/blobs/sha256%253A00",
    "/v2/team%252Fapp/tags/list",
    "/v2/app/manifests/100%25",
    "/v2/app/manifests/1%",
    "/v2/app/manifests/1%3",
    "/v2/app/manifests/1%zz",
    "/v2/app/manifests/1%u0041",
    "/v2/app%5Cb/tags/list",
    "/v2/app%20b/tags/list",
    "/v2/app%3Bx/tags/list",
    "/v2/app/tags/list%3Fn=1",
    "/v2/app/tags/list%23x",
    "/v2/%C3%A9/tags/list",
    "/v2/%E2%88%95/tags/list",
    "%2Fv2/app/tags/list",
    "/%2Fv2/app/tags/list",
    "/v2%2F",
    "/v2/%2Fapp/tags/list",
    "/v2/app%2F/tags/list",
    "/v2/app%2F%2Fb/tags/list",
    "/v2/app/tags/list%2F",
    "/v2/app/tags/list%2F/",
    "/v2/app/manifests/1%2F",
    "/v2/app/blobs/uploads%2f",
    "/v2/_catalog%2F",
  ];
  for (const target of targets) t.equal(parseTarget(target), "bad_path", target);
});

t.test("a list may be asked for with a slash at its end", async (t) => {
  check(t, [
    ["/v2/app/tags/list/", tags("app")],
    ["/v2/a/b/tags/list/?n=2", tags("a/b", { n: 2, last: undefined })],
    ["/p/v2/tags/list/tags/list/", tags("tags/list", noPage, { prefix: "p" })],
    ["/v2/_catalog/", catalog()],
    ["/v2/App/tags/list/", "bad_name"],
  ]);
});

t.test("dots that are no dot components stay what they are", async (t) => {
  check(t, [
    ["/v2/.../tags/list", "bad_name"],
    ["/v2/a..b/tags/list", "bad_name"],
    ["/v2/.hidden/tags/list", "bad_name"],
    ["/v2/a./tags/list", "bad_name"],
    ["/v2/app/manifests/a..b", byTag("app", "a..b")],
    ["/v2/app/manifests/a..", byTag("app", "a..")],
  ]);
});

t.test("a target of 4,096 characters is read, a longer one is not", async (t) => {
  const target = (length: number): string => "/v2/app/tags/list?last=".padEnd(length, "x");
  const route = parseTarget(target(4096));
  t.equal(typeof route === "object" && route.kind, "tags");
  t.equal(parseTarget(target(4097)), "bad_path");
});

t.test("hostile targets take no time", async (t) => {
  const units = [
    "/a",
    "a",
    "/",
    "/v2",
    "/blobs/uploads",
    "/manifests",
    "/manifests/",
    "a-",
    "a.",
    "/a-b_c.",
    "/..",
    "/.",
    "%2e",
    "/v2/manifests/a",
  ];
  const spent = cpuTime(() => {
    for (const unit of units) {
      for (const end of ["", "!", "/", "/manifests/latest", "/blobs/uploads/x/y"]) {
        const target = `/v2/${unit.repeat(4096)}`.slice(0, 4096 - end.length) + end;
        t.equal(typeof parseTarget(target), "string", `${unit} ${end}`);
      }
    }
  });
  t.ok(spent < 1000, `${spent} ms`);
});

// ---- properties -----------------------------------------------------------------------------------------------

const word = fc.constantFrom(
  "manifests",
  "blobs",
  "tags",
  "v2",
  "list",
  "uploads",
  "referrers",
  "docker.io",
  "a__b",
);
const component = fc.oneof(
  word,
  fc.stringMatching(/^[a-z0-9]{1,4}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}$/),
);
const repositories = fc.array(component, { minLength: 1, maxLength: 8 }).map((parts) => parts.join("/"));
const prefixes = fc
  .array(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:+=~@-]{0,6}$/), { maxLength: 3 })
  .filter((parts) => !parts.includes("v2"))
  .map((parts) => parts.join("/"));
const tagNames = fc.oneof(word, fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/));
const digests = fc.oneof(
  fc.stringMatching(/^sha256:[0-9a-f]{64}$/),
  fc.stringMatching(/^sha512:[0-9a-f]{128}$/),
) as fc.Arbitrary<Digest>;
const wellFormed = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 });
const maybe = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(values, { nil: undefined });
const pages = fc.record({ n: maybe(fc.nat(100_000)), last: maybe(wellFormed) }, { noNullPrototype: true });
const placed = <T extends object>(shape: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T & Route> =>
  fc.record(
    { ...shape, prefix: prefixes, ns: maybe(wellFormed) },
    { noNullPrototype: true },
  ) as unknown as fc.Arbitrary<T & Route>;

const routes: fc.Arbitrary<Route> = fc.oneof(
  placed({ kind: fc.constant("ping") }),
  placed({
    kind: fc.constant("manifest"),
    repository: repositories,
    reference: fc.oneof(tagNames, digests).map((text) => parseReference(text)),
  }),
  placed({ kind: fc.constant("blob"), repository: repositories, digest: digests }),
  placed({ kind: fc.constant("tags"), repository: repositories, page: pages }),
  placed({
    kind: fc.constant("referrers"),
    repository: repositories,
    digest: digests,
    artifactType: maybe(fc.stringMatching(/^[a-z]{1,8}\/[a-z.+]{1,12}$/)),
  }),
  placed({
    kind: fc.constant("upload"),
    repository: repositories,
    upload: fc
      .record(
        {
          session: maybe(fc.stringMatching(/^[A-Za-z0-9_~=-]{1,40}$/)),
          digest: maybe(digests),
          mount: maybe(digests),
          from: maybe(repositories),
          state: fc.array(
            fc.tuple(fc.stringMatching(/^_[A-Za-z0-9.~-]{1,20}$/), fc.stringMatching(/^[ -~é€]{0,40}$/)),
            { maxLength: 4 },
          ),
        },
        { noNullPrototype: true },
      )
      // What contradicts itself is no upload: a blob is mounted where one begins, and instead of another.
      .map((upload) => ({
        ...upload,
        mount: upload.session === undefined && upload.digest === undefined ? upload.mount : undefined,
      })),
  }),
  placed({ kind: fc.constant("catalog"), page: pages }),
);

/** The target a client would send for `route`. */
function targetOf(route: Route): string {
  const query = new URLSearchParams();
  const put = (name: string, value: string | number | undefined): void => {
    if (value !== undefined) query.set(name, String(value));
  };
  put("ns", route.ns);
  if (route.kind === "tags" || route.kind === "catalog") {
    put("n", route.page.n);
    put("last", route.page.last);
  }
  if (route.kind === "referrers") put("artifactType", route.artifactType);
  if (route.kind === "upload")
    for (const [name, value] of uploadQuery(route.upload)) query.append(name, value);
  return `${route.prefix && "/"}${route.prefix}/v2/${pathOf(route)}${query.size > 0 ? "?" : ""}${query}`;
}

function pathOf(route: Route): string {
  switch (route.kind) {
    case "ping":
      return "";
    case "manifest":
      return `${route.repository}/manifests/${referenceText(route.reference)}`;
    case "blob":
      return `${route.repository}/blobs/${route.digest}`;
    case "tags":
      return `${route.repository}/tags/list`;
    case "referrers":
      return `${route.repository}/referrers/${route.digest}`;
    case "upload":
      return `${route.repository}/blobs/uploads/${route.upload.session ?? ""}`;
    case "catalog":
      return "_catalog";
  }
}

t.test("any route built from legal parts parses back to them", async () => {
  fc.assert(
    fc.property(routes, (route) => isDeepStrictEqual(parseTarget(targetOf(route)), route)),
    { numRuns: 500 },
  );
});

t.test("a route whose characters are escaped is the same route", async () => {
  const escaped = (character: string): string => `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  fc.assert(
    fc.property(routes, fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), (route, seeds) => {
      const [path = "", query] = targetOf(route).split("?", 2);
      const characters = [...path];
      for (const seed of seeds) {
        const at = seed % characters.length;
        const character = characters[at] as string;
        const atAnEnd = at === 0 || at === characters.length - 1;
        const stays = character.length > 1 || character === "." || (character === "/" && atAnEnd);
        if (!stays) characters[at] = escaped(character);
      }
      const target = characters.join("") + (query === undefined ? "" : `?${query}`);
      return isDeepStrictEqual(parseTarget(target), route);
    }),
    { numRuns: 1000 },
  );
});

t.test("no path with a wrong escape, a backslash, an empty or a dot component is a route", async () => {
  const insertions = fc.constantFrom(
    "%25",
    "%zz",
    "%2e%2e",
    "%00",
    "%2f/",
    "\\",
    "//",
    "/../",
    "/./",
    ";",
    "\0",
    " ",
    "\xe9",
    "#",
  );
  fc.assert(
    fc.property(routes, insertions, fc.nat(), (route, bad, seed) => {
      const target = targetOf(route);
      const [path = ""] = target.split("?", 1);
      const at = seed % (path.length + 1);
      const answer = parseTarget(target.slice(0, at) + bad + target.slice(at));
      return answer === "bad_path";
    }),
    { numRuns: 1000 },
  );
});

t.test("whatever the target, a route is made of its own characters", async () => {
  const noise = fc.string({
    unit: fc.oneof(
      fc.constantFrom("/v2/", "/", "..", "manifests", "blobs/", "%"),
      fc.string({ maxLength: 3 }),
    ),
    maxLength: 12,
  });
  fc.assert(
    fc.property(noise, (path) => {
      const route = parseTarget(path);
      if (typeof route === "string" || !("repository" in route)) return true;
      const decoded = decodeURIComponent(path);
      return path.startsWith("/") && decoded.includes(`${route.prefix}/v2/${route.repository}/`);
    }),
    { numRuns: 2000 },
  );
});
