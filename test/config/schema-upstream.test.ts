import t from "tap";
import { configOf, problemsOf, upstreamsYaml } from "../fixtures/loading.ts";

const url = "https://registry.example.com";
const upstreamsOf = (...items: string[]) => configOf({ yaml: upstreamsYaml(...items) }).upstreams;

t.test("everything can be set for each upstream of a list", async (t) => {
  const yaml = `
upstreams:
  - name: artifactory
    url: https://artifactory.example.com/artifactory/
    repositoryPrefix: docker-local/team
    tokenRealms: [tokens.example.com, "tokens.example.net:8443"]
    tls: {serverName: internal.example.com}
    redirectsTo: [10.0.0.0/8, minio]
    connectTimeout: 1s
    firstByteTimeout: 2s
    idleTimeout: 3s
    maxConnections: 4
    segments: 2
    namespaces: [Registry.example.com, "registry.example.com:8443"]
    hosts: [mirror.example.com]
    component: team
    library: true
    allow: [team/**, "library/*:v*"]
    deny: ["**:latest"]
    next: {upstream: other, on: [absent]}
    tags:
      ttl: forever
      rules: [{match: "**:v*", ttl: 24h}]
    push: true
  - {name: other, url: https://other.example.com}
`;
  const { upstreams } = configOf({ yaml });
  t.same(upstreams[0], {
    name: "artifactory",
    url: new URL("https://artifactory.example.com/artifactory"),
    auth: { kind: "none" },
    access: "open",
    tokenRealms: ["tokens.example.com", "tokens.example.net:8443"],
    tls: { ca: undefined, cert: undefined, key: undefined, serverName: "internal.example.com" },
    redirectsTo: ["10.0.0.0/8", "minio"],
    connectTimeout: 1000,
    firstByteTimeout: 2000,
    idleTimeout: 3000,
    maxConnections: 4,
    segments: 2,
    repositoryPrefix: "docker-local/team",
    component: "team",
    namespaces: ["registry.example.com", "registry.example.com:8443"],
    hosts: ["mirror.example.com"],
    library: true,
    allow: ["team/**", "library/*:v*"],
    deny: ["**:latest"],
    next: { upstream: "other", on: ["absent"] },
    tags: { ttl: Number.POSITIVE_INFINITY, rules: [{ match: "**:v*", ttl: 86_400_000 }] },
    push: true,
  });
  t.match(upstreams[1], {
    name: "other",
    connectTimeout: 5000,
    namespaces: [],
    library: false,
    next: undefined,
    tags: { ttl: undefined, rules: [] },
    push: false,
  });
});

t.test("the one upstream takes the same keys, some of them in the environment", async (t) => {
  const yaml = `upstream: {url: ${url}, component: hub, allow: team/**, tags: {ttl: 5s}}\n`;
  const env = {
    ENTREPOT_UPSTREAM_REPOSITORY_PREFIX: "docker-local",
    ENTREPOT_UPSTREAM_PUSH: "true",
    ENTREPOT_UPSTREAM_NAMESPACES: "docker.io, registry.example.com,",
  };
  t.match(configOf({ yaml, env }).upstreams, [
    {
      repositoryPrefix: "docker-local",
      component: "hub",
      namespaces: ["docker.io", "registry.example.com"],
      allow: ["team/**"],
      tags: { ttl: 5000 },
      push: true,
    },
  ]);
});

t.test(
  "a plain name is asked next on absence, and on failure where what may come from it is listed",
  async (t) => {
    const others = (more: string) => [`name: b, url: ${url}${more}`, `name: c, url: ${url}`];
    const next = (text: string, more = ", allow: library/**") =>
      upstreamsOf(`name: a, url: ${url}, next: ${text}`, ...others(more))[0].next;
    t.same(next("b"), { upstream: "b", on: ["absent", "failure"] });
    t.same(next("b", ""), { upstream: "b", on: ["absent"] });
    t.same(
      next("b", ", allow: library/**, next: c"),
      { upstream: "b", on: ["absent"] },
      "or from one behind it",
    );
    t.same(next("{upstream: b}"), { upstream: "b", on: ["absent", "failure"] });
    t.same(next("{upstream: b, on: failure}"), { upstream: "b", on: ["failure"] });
    t.same(next("{upstream: b, on: [failure, denied]}"), { upstream: "b", on: ["failure", "denied"] });
  },
);

t.test("library/ is added, left alone or taken away", async (t) => {
  for (const [written, value] of [
    ["true", true],
    ["false", false],
    ["strip", "strip"],
    ["STRIP", "strip"],
  ] as const)
    t.equal(upstreamsOf(`name: a, url: ${url}, library: ${written}`)[0].library, value, written);
});

t.test("Docker Hub's own names are its default", async (t) => {
  const hub = "url: https://registry-1.docker.io";
  t.match(upstreamsOf(`name: hub, ${hub}`), [{ namespaces: ["docker.io"], library: true }]);
  t.match(upstreamsOf(`name: hub, ${hub}, namespaces: [], library: false`), [
    { namespaces: [], library: false },
  ]);
  t.same(
    upstreamsOf(`name: a, url: ${url}, namespaces: docker.io`, `name: hub, ${hub}`).map(
      (each) => each.namespaces,
    ),
    [["docker.io"], []],
    "unless another upstream names them",
  );
  t.same(
    upstreamsOf(`name: a, ${hub}`, `name: b, ${hub}`).map((each) => each.namespaces),
    [["docker.io"], []],
    "the first of two has them",
  );
});

t.test("each setting has its rule, and every problem of every upstream is told", async (t) => {
  for (const [setting, says] of [
    ["repositoryPrefix: docker-local/", /repositoryPrefix .*expected a repository in lower case/],
    ["repositoryPrefix: Docker", /found "Docker", expected a repository/],
    ["tokenRealms: [a, https://b]", /tokenRealms\[1\] .*found "https:\/\/b", expected a host/],
    ["redirectsTo: [10.0.0.0/99]", /redirectsTo\[0\] .*expected a host, an IP address, or a network/],
    ["namespaces: [docker.io/library]", /namespaces\[0\] /],
    ["hosts: ['mirror.example.com:5000']", /hosts\[0\] .*without a scheme or a port/],
    ["component: a/b", /component .*one part of a repository/],
    ["library: 1", /library .*true, false or strip/],
    ["allow: ['team/(a']", /allow\[0\] .*every bracket closed/],
    ["deny: ['']", /deny\[0\] .*a pattern of 1 to 512 characters/],
    ["next: {on: absent}", /next\.upstream .*found nothing, expected a value/],
    [
      "next: {upstream: b, on: []}",
      /next\.on .*found 0 items, expected one to three of absent, denied, failure/,
    ],
    [
      "next: {upstream: b, on: never}",
      /next\.on\[0\] .*found "never", expected one of absent, denied, failure/,
    ],
    ["tags: {ttl: 5}", /tags\.ttl .*a unit after the number/],
    ["tags: {rules: [{match: '(', ttl: 1s}]}", /tags\.rules\[0\]\.match .*every bracket closed/],
    ["push: maybe", /push .*true or false/],
    [`url: https://u:hunter2@registry.example.com`, /url .*not shown/],
  ] as const) {
    const own = setting.startsWith("url") ? setting : `url: ${url}, ${setting}`;
    const found = problemsOf({
      yaml: upstreamsYaml(`name: a, ${own}`, `name: b, url: ${url}, idleTimeout: 1`),
    });
    t.equal(found.length, 2, setting);
    t.match(found[0], says);
    t.match(found[0], /^upstreams\[0\]\.[\w.[\]]+ \(mirror\.yaml:2:\d+\): found /);
    t.match(found.at(-1), /^upstreams\[1\]\.idleTimeout \(mirror\.yaml:3:\d+\): found "1"/);
    t.notMatch(found.join(), /hunter2/);
  }
});

t.test("lists are bounded", async (t) => {
  const allow = (count: number) => `upstream:\n  url: ${url}\n  allow: [${"x,".repeat(count)}]\n`;
  t.equal(configOf({ yaml: allow(100) }).upstreams[0].allow.length, 100);
  t.same(problemsOf({ yaml: allow(101) }), [
    "upstream.allow (mirror.yaml:3:10): found 101 items, expected at most 100 items",
  ]);
  const many = Array.from({ length: 101 }, (_, i) => `name: a${i}, url: ${url}`);
  t.same(problemsOf({ yaml: upstreamsYaml(...many) }), [
    "upstreams (mirror.yaml:2:3): found 101 items, expected at most 100 upstreams",
  ]);
});
