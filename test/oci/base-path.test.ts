import t from "tap";
import { belowBase, parseBasePath, parseForwardedPrefix } from "../../src/oci/base-path.ts";

t.test("a base path is absolute, of plain characters, and has no slash at its end", async (t) => {
  for (const [text, path] of [
    ["/registry", "/registry"],
    ["/registry/", "/registry"],
    ["/a/b.c/d_e~f-1", "/a/b.c/d_e~f-1"],
    ["/", ""],
    ["", ""],
    [`/${"a".repeat(255)}`, `/${"a".repeat(255)}`],
  ] as const)
    t.equal(parseBasePath(text), path, text);
  const wrong = [
    "registry",
    "//",
    "//evil.example.com",
    "/a//b",
    "/a/../b",
    "/./a",
    "/..",
    "/a b",
    "/a%2fb",
    "/a?b",
    "/a#b",
    "/a\\b",
    "/a\r\nX-Evil: 1",
    "http://evil.example.com/",
    '/a">',
    "/é",
    `/${"a".repeat(256)}`,
  ];
  for (const text of wrong) t.equal(parseBasePath(text), undefined, text);
});

t.test("the prefixes of several proxies follow each other", async (t) => {
  t.equal(parseForwardedPrefix("/registry"), "/registry");
  t.equal(parseForwardedPrefix("/a, /b/"), "/a/b");
  t.equal(parseForwardedPrefix("/a,/"), "/a");
  t.equal(parseForwardedPrefix(""), "");
  for (const wrong of ["/a, //evil", "evil", "/a,b"]) t.equal(parseForwardedPrefix(wrong), undefined, wrong);
});

t.test("what is below a base path", async (t) => {
  for (const [path, base, below] of [
    ["/ops/stats.json", "/ops", "/stats.json"],
    ["/ops/", "/ops", "/"],
    ["/ops", "/ops", "/"],
    ["/ops?a=/b", "/ops", "/?a=/b"],
    ["/opsx", "/ops", "/opsx"],
    ["/stats.json", "/ops", "/stats.json"],
    ["/x", "", "/x"],
  ] as const)
    t.equal(belowBase(path, base), below, `${path} ${base}`);
});
