import t from "tap";
import { upstreamsYaml, warningsOf } from "../fixtures/loading.ts";

const account = "username: u, password: hunter2";

t.test("credentials over plain http are worth a warning, with its place", async (t) => {
  const yaml = upstreamsYaml(
    `name: a, url: https://a.example.com, ${account}`,
    `name: b, url: http://b.example.com, ${account}`,
    "name: c, url: http://c.example.com, authorization: Bearer hunter2",
    "name: d, url: http://d.example.com",
  );
  t.same(warningsOf({ yaml }), [
    "upstreams[1].url (mirror.yaml:3:20): plain http: everybody on the way can read the credentials; use https if the registry has it",
    "upstreams[2].url (mirror.yaml:4:20): plain http: everybody on the way can read the credentials; use https if the registry has it",
  ]);
});

t.test("nobody is on the way to this machine itself", async (t) => {
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
    t.same(warningsOf({ yaml: `upstream: {url: "http://${host}:5000", ${account}}\n` }), [], host);
});

t.test("a server name does nothing over plain http", async (t) => {
  const yaml = "upstream: {url: http://a.example.com, tls: {serverName: b.example.com}}\n";
  t.match(warningsOf({ yaml }), [/^upstream\.tls\.serverName \(mirror\.yaml:1:57\): has no effect/]);
});

t.test("a rule for tags that never says anything is worth a warning", async (t) => {
  const yaml = `upstreams:
  - name: a
    url: https://a.example.com
    tags: { rules: [{ match: "library//x", ttl: 1m }] }
tags:
  rules:
    - { match: "team/**:v*", ttl: 1d }
    - { match: "team/app:v1", ttl: 10s }
    - { match: "Team/app", ttl: 10s }
    - { match: "**", ttl: 30s }
`;
  t.same(warningsOf({ yaml }), [
    "upstreams[0].tags.rules[0].match (mirror.yaml:4:30): matches nothing: no part of a repository's name is empty",
    "tags.rules[1].match (mirror.yaml:8:16): is never reached: tags.rules[0].match matches all that it does",
    'tags.rules[2].match (mirror.yaml:9:16): matches nothing: no repository has "T" in its name',
  ]);
});

t.test("Docker Hub by a name that is not its registry's", async (t) => {
  for (const url of [
    "https://docker.io",
    "https://index.docker.io/v1/",
    "https://hub.docker.com",
    "https://registry.hub.docker.com",
    "https://Docker.io/",
  ])
    t.match(
      warningsOf({ yaml: `upstream: {url: "${url}"}\n` }),
      [
        /^upstream\.url \(mirror\.yaml:1:17\): [a-z.]+ is a name of Docker Hub, .* use https:\/\/registry-1\.docker\.io$/,
      ],
      url,
    );
  t.same(warningsOf({ yaml: "upstream: {url: https://registry-1.docker.io}\n" }), []);
});

t.test("what cannot be had of a registry that is asked for nothing", async (t) => {
  const yaml = upstreamsYaml(
    "name: a, url: https://a.example.com, offline: true, push: true",
    "name: b, url: https://b.example.com, push: true",
  );
  t.match(warningsOf({ yaml }), [
    /^upstreams\[0\]\.offline \(mirror\.yaml:2:\d+\): upstream a takes no push while it is asked for nothing/,
  ]);
  const all = `offline: true
upstream: { url: "https://a.example.com", push: true }
warm: [{ at: "0 5 * * *", images: ["team/app:1.0"] }]
`;
  t.match(warningsOf({ yaml: all }), [
    /^offline \(mirror\.yaml:1:10\): upstream .* takes no push/,
    /^warm.*: has no effect: no registry is asked for anything \(offline\)/,
  ]);
  const but = `offline: true
upstream: { url: "https://a.example.com", push: true, offline: false }
warm: [{ at: "0 5 * * *", images: ["team/app:1.0"] }]
`;
  t.same(warningsOf({ yaml: but }), []);
});
