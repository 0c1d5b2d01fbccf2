// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of the environment look like that
import t from "tap";
import { renderConfig } from "../../src/config/print.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { configOf, loadedFrom, passwordOf, upstreamsYaml, upstreamUrl } from "../fixtures/loading.ts";

const yaml = `
listen: "[::1]:5000"
opsListen: :0
catalog: false
manifestsWithoutLayers: refuse
proofs: shared
drainTimeout: 90s
log: {level: debug}
upstream: {name: far, url: https://registry.example.com/a, maxConnections: 7}
`;

t.test("what is printed loads to the same configuration", async (t) => {
  const given = {
    yaml,
    env: {
      ENTREPOT_CACHE_DIR: "./a b: #c",
      ENTREPOT_CACHE_MAX_SIZE: "1.5TiB",
      ENTREPOT_CACHE_EVICT_TO: "12.5%",
      ENTREPOT_STALE_IF_ERROR: "forever",
      ENTREPOT_UPSTREAM_CONNECT_TIMEOUT: "1500ms",
    },
  };
  const loaded = loadedFrom(given);
  const { config } = loaded;
  t.same(configOf({ yaml: renderConfig(loaded) }), config);
  const rules = `${yaml}tags: {rules: [{match: "**:latest", ttl: 0s}, {match: "a/*:v*", ttl: forever}]}\n`;
  const second = loadedFrom({ yaml: rules });
  t.same(configOf({ yaml: renderConfig(second) }), second.config);
});

t.test("every line says where its value came from", async (t) => {
  const loaded = loadedFrom({ yaml: "tags:\n  ttl: 5m\n", env: upstreamUrl });
  const text = renderConfig(loaded);
  t.match(text, /^listen: 0\.0\.0\.0:5000 # default$/m);
  t.match(text, /^ {2}url: https:\/\/registry\.example\.com\/ # ENTREPOT_UPSTREAM_URL$/m);
  t.match(text, /^ {2}ttl: 5m # mirror\.yaml:2:8$/m);
});

t.test("a secret is a comment that says where it is from", async (t) => {
  const env = { ...upstreamUrl, ENTREPOT_UPSTREAM_USERNAME: "mirror" };
  const direct = loadedFrom({ env: { ...env, ENTREPOT_UPSTREAM_PASSWORD: "hunter2" } });
  const text = renderConfig(direct);
  t.match(text, /^ {2}# password: not shown, from ENTREPOT_UPSTREAM_PASSWORD$/m);
  t.notMatch(text, /hunter2/);
  const header = loadedFrom({
    yaml: upstreamsYaml("name: a, url: https://a.example.com, authorization: Bearer hunter2"),
  });
  const other = renderConfig(header);
  t.match(other, /^ {4}# authorization: not shown, from mirror\.yaml:2:58$/m);
  t.notMatch(other, /hunter2/);
});

t.test("a file with a secret is its path", async (t) => {
  const env = { ...upstreamUrl, ENTREPOT_UPSTREAM_USERNAME: "mirror", ENTREPOT_UPSTREAM_PASSWORD_FILE: "/p" };
  const files = { "/p": "hunter2" };
  const loaded = loadedFrom({ env, files });
  const text = renderConfig(loaded);
  t.match(text, /^ {2}passwordFile: \/p # ENTREPOT_UPSTREAM_PASSWORD_FILE$/m);
  t.notMatch(text, /hunter2/);
  const again = configOf({ yaml: text, files });
  t.equal(await passwordOf(again), "hunter2");
});

const everything = `
upstreams:
  - name: artifactory
    url: https://artifactory.example.com/artifactory
    repositoryPrefix: docker-local
    authorizationFile: /token
    tokenRealms: [tokens.example.com]
    tls: {serverName: internal.example.com}
    redirectsTo: [10.0.0.0/8]
    connectTimeout: 1s
    firstByteTimeout: 2s
    idleTimeout: 3s
    maxConnections: 4
    namespaces: [registry.example.com, "registry.example.com:8443"]
    hosts: [mirror.example.com]
    component: team
    library: true
    allow: [team/**, "*:v*"]
    deny: ["!a/**"]
    next: {upstream: hub, on: [failure]}
    tags: {ttl: forever, rules: [{match: "**:v*", ttl: 24h}]}
    push: true
  - name: hub
    url: https://registry-1.docker.io
    credentialHelper: pass
    allow: library/**
    next: plain
  - {name: plain, url: "http://localhost:5000/a", namespaces: docker.io, allow: "**"}
  - {name: tls, url: "https://tls.example.com", next: {upstream: plain, on: absent}}
`;

t.test("a list of upstreams loads to the same configuration", async (t) => {
  const files = { "/token": "Bearer hunter2" };
  const loaded = loadedFrom({ yaml: everything, files });
  const { config } = loaded;
  const text = renderConfig(loaded);
  t.same(configOf({ yaml: text, files }), config);
  t.match(config.upstreams, [{ auth: { kind: "header" } }, { auth: { kind: "helper" }, namespaces: [] }]);
  t.match(text, /^ {4}allow: \[ team\/\*\*, "\*:v\*" \] # mirror\.yaml:18:12$/m);
  t.match(text, /^ {4}next: \{ upstream: hub, on: \[ failure \] \} # mirror\.yaml:20:11$/m);
  t.match(text, /^ {6}serverName: internal\.example\.com # mirror\.yaml:8:23$/m);
  t.match(text, /^ {4}authorizationFile: \/token # mirror\.yaml:6:24$/m);
  t.notMatch(text, /hunter2|^upstream:/m);
});

t.test("a list of one stays a list", async (t) => {
  const loaded = loadedFrom({ yaml: upstreamsYaml("name: a, url: https://a.example.com") });
  const { config } = loaded;
  const text = renderConfig(loaded);
  t.match(text, /^upstreams:\n {2}- name: a # mirror\.yaml:2:12$/m);
  t.same(configOf({ yaml: text }), config);
});

t.test("certificates are their paths", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const own = authority.issue("own", "DNS:mirror.example.com");
  const files = { "/ca.pem": authority.cert, "/own.pem": own.cert, "/own.key": own.key };
  const given =
    "upstream:\n  url: https://a.example.com\n  tls: {ca: /ca.pem, cert: /own.pem, key: /own.key}\n";
  const loaded = loadedFrom({ yaml: given, files });
  const { config } = loaded;
  const text = renderConfig(loaded);
  t.notMatch(text, /BEGIN/);
  const again = configOf({ yaml: text, files });
  t.same(again, config);
  t.equal(again.upstreams[0].tls?.key?.reveal(), own.key);
});

t.test("a variable of the environment that the file names stays one where the value is secret", async (t) => {
  const yaml = "upstream: {url: https://a.example.com, username: u, password: '${PASSWORD}'}\n";
  const env = { PASSWORD: "hunter2" };
  const text = renderConfig(loadedFrom({ yaml, env }));
  t.match(text, /^ {2}password: \$\{PASSWORD\} # mirror\.yaml:1:63$/m);
  t.notMatch(text, /hunter2/);
  t.equal(await passwordOf(configOf({ yaml: text, env })), "hunter2");
});

t.test("an empty list is printed when somebody wrote it: none is not the default everywhere", async (t) => {
  const loaded = loadedFrom({ yaml: "upstream: {url: https://registry-1.docker.io, namespaces: []}\n" });
  const text = renderConfig(loaded);
  t.match(text, /^ {2}namespaces: \[\] # mirror\.yaml:1:59$/m);
  t.notMatch(text, /^ {2}(?:allow|deny|hosts):/m, "nobody wrote these");
  const again = configOf({ yaml: text });
  t.same(again, loaded.config);
  t.same(again.upstreams[0].namespaces, []);
});
