import t from "tap";
import { problemsOf, upstreamsYaml, upstreamUrl } from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";

t.test("the two listeners need two ports", async (t) => {
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_LISTEN: ":5001" } }), [
    "ENTREPOT_LISTEN: found port 5001 for both listen and opsListen, expected two ports",
  ]);
  t.match(problemsOf({ yaml: `${url}opsListen: "[::1]:5000"\n` }), [
    /^opsListen \(mirror.yaml:3:12\): found port 5000/,
  ]);
  const socket = "unix:/run/e.sock";
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_LISTEN: socket, ENTREPOT_OPS_LISTEN: socket } }), [
    "ENTREPOT_OPS_LISTEN: found unix:/run/e.sock for both listen and opsListen, expected two places",
  ]);
  t.same(
    problemsOf({ env: { ...upstreamUrl, ENTREPOT_LISTEN: "fd://3", ENTREPOT_OPS_LISTEN: "fd://4" } }),
    [],
  );
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_LISTEN: ":0", ENTREPOT_OPS_LISTEN: ":0" } }), []);
});

t.test("a base path is not what an upstream is named by", async (t) => {
  const named = "upstream:\n  url: https://registry.example.com\n  name: hub\n";
  t.match(problemsOf({ yaml: `${named}basePath: /hub/\n` }), [
    /^basePath \(mirror.yaml:4:11\): found the name of an upstream/,
  ]);
  t.match(problemsOf({ yaml: `${named}basePath: //evil\nopsBasePath: ops\n` }), [
    /a path such as/,
    /a path such as/,
  ]);
  t.same(problemsOf({ yaml: `${named}basePath: /registry/hub\nopsBasePath: /ops/\n` }), []);
});

t.test("a tag is served while it is being confirmed for less long than while upstream is away", async (t) => {
  const stale = (behind: string, ifError: string) =>
    problemsOf({ yaml: `${url}tags:\n  staleWhileRevalidate: ${behind}\n  staleIfError: ${ifError}\n` });
  t.same(stale("5m", "5m"), [
    'tags.staleWhileRevalidate (mirror.yaml:4:25): found "5m", expected less than tags.staleIfError',
  ]);
  t.same(stale("5m", "6m"), []);
  t.same(stale("0s", "0s"), []);
  t.same(stale("1d", "forever"), []);
  t.match(stale("2d", "7d"), [/^tags.staleWhileRevalidate/], "a day at most");
});

const list = upstreamsYaml("name: a, url: https://a.example.com");

t.test("one upstream, or a list of them: not both", async (t) => {
  t.same(problemsOf({ yaml: `${url}  name: b\n${list}` }), [
    "upstream.url (mirror.yaml:2:8): found both this and upstreams, expected only one of the two: move it into the list, or make the list one upstream",
  ]);
  t.same(
    problemsOf({ yaml: list, env: { ...upstreamUrl, ENTREPOT_UPSTREAM_NAME: "b" } }).map((line) =>
      line.replace(/,.*/, ""),
    ),
    [
      "ENTREPOT_UPSTREAM_NAME: found both this and upstreams",
      "ENTREPOT_UPSTREAM_URL: found both this and upstreams",
    ],
  );
  t.same(problemsOf({ yaml: `upstream:\n  # url: x\n${list}` }), [], "nothing is set below upstream");
  t.same(problemsOf({ yaml: `${url}upstreams: []\n` }), [], "nothing is in the list");
});
