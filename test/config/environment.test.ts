import t from "tap";
import { readEnvironment } from "../../src/config/environment.ts";
import { settings } from "../../src/config/settings.ts";
import { Sources } from "../../src/config/sources.ts";
import { configOf, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

function read(env: Readonly<Record<string, string>>): Sources {
  const sources = new Sources();
  readEnvironment(env, sources);
  return sources;
}

t.test("every variable of the table is read", async (t) => {
  for (const { env, path } of settings) {
    if (env === undefined) continue;
    const name = `ENTREPOT_${env}`;
    const isJson = [
      "UPSTREAMS",
      "TEAMS",
      "TAG_RULES",
      "ACCESS_OIDC",
      "ACCESS_RULES",
      "LIMITS_RULES",
      "WARM",
      "NOTIFICATIONS_ENDPOINTS",
      "SIBLINGS",
    ].includes(env);
    const sources = read({ [name]: isJson ? "[{}]" : "x" });
    t.same(
      settings.filter((setting) => sources.has(setting.path)).map(({ env: found }) => found),
      [env],
      name,
    );
    t.equal(sources.origin(path), name);
    t.same(sources.problems, []);
  }
});

t.test("items of a list are separated by commas", async (t) => {
  const items = (text: string) =>
    read({ ENTREPOT_UPSTREAM_NAMESPACES: text }).get(["upstream", "namespaces"]);
  t.same(items("docker.io"), ["docker.io"]);
  t.same(items(" a.example.com, b.example.com:5000 ,"), ["a.example.com", "b.example.com:5000"]);
  t.same(items(","), []);
});

t.test("an empty variable counts as not set", async (t) => {
  t.same(read({ ENTREPOT_LISTEN: "" }).root, {});
});

t.test("variables of other programs are none of ours", async (t) => {
  t.same(read({ PATH: "/bin", ENTREPOTS: "x", entrepot_listen: "x" }).problems, []);
});

t.test("an unknown variable is a problem that does not show its value", async (t) => {
  for (const [name, hint] of [
    ["ENTREPOT_UPSTREAM_PASWORD", "did you mean ENTREPOT_UPSTREAM_PASSWORD?"],
    ["ENTREPOT_TAGS_TTL", "did you mean ENTREPOT_TAG_TTL?"],
    ["ENTREPOT_URL", "did you mean ENTREPOT_UPSTREAM_URL?"],
    ["ENTREPOT_TAGS_STALE_IF_ERROR", "did you mean ENTREPOT_STALE_IF_ERROR?"],
    ["ENTREPOT_QQQQ", "see entrepot --help for the names"],
    ["ENTREPOT_PORT", "see entrepot --help for the names"],
    ["ENTREPOT_", "see entrepot --help for the names"],
  ]) {
    t.same(read({ [name as string]: "hunter2" }).problems, [
      { key: name, message: `there is no such setting; ${hint}` },
    ]);
  }
});

t.test("what Kubernetes sets for a Service called entrepot, or entrepot-ops, is no setting", async (t) => {
  const links: Record<string, string> = {};
  for (const service of ["ENTREPOT", "ENTREPOT_OPS"]) {
    links[`${service}_SERVICE_HOST`] = "10.0.0.1";
    links[`${service}_SERVICE_PORT`] = "5000";
    links[`${service}_SERVICE_PORT_REGISTRY`] = "5000";
    links[`${service}_PORT`] = "tcp://10.0.0.1:5000";
    links[`${service}_PORT_5000_TCP`] = "tcp://10.0.0.1:5000";
    links[`${service}_PORT_5000_TCP_PROTO`] = "tcp";
    links[`${service}_PORT_5000_TCP_PORT`] = "5000";
    links[`${service}_PORT_5000_TCP_ADDR`] = "10.0.0.1";
  }
  const { root, problems } = read(links);
  t.same([root, problems], [{}, []]);
});

t.test("lists of mappings are JSON, with their place in the variable", async (t) => {
  const upstreams = '[{"name":"a","url":"https://a.example.com","tls":{"serverName":"b.example.com"}}]';
  t.match(configOf({ env: { ENTREPOT_UPSTREAMS: upstreams } }).upstreams, [
    { name: "a", tls: { serverName: "b.example.com" }, maxConnections: 64 },
  ]);
  t.same(
    configOf({ env: { ...upstreamUrl, ENTREPOT_TAG_RULES: '[{"match":"**:v*","ttl":"24h"}]' } }).tags.rules,
    [{ match: "**:v*", ttl: 86_400_000 }],
  );
  const problems = (text: string) => problemsOf({ env: { ENTREPOT_UPSTREAMS: text } });
  t.same(problems('[{"name":"a","url":"https://a.example.com","idleTimeout":5}]'), [
    'ENTREPOT_UPSTREAMS[0].idleTimeout: found "5", expected a unit after the number: 5ms, 5s, 5m, 5h or 5d',
  ]);
  t.same(problems('[{"name":"a","ulr":"x"}]'), [
    "ENTREPOT_UPSTREAMS[0].ulr: there is no such setting; did you mean upstreams[0].url?",
    "ENTREPOT_UPSTREAMS[0]: has no url, expected that of the registry to mirror",
  ]);
  for (const problem of problems("[{")) t.match(problem, /^ENTREPOT_UPSTREAMS: not valid YAML/);
  t.same(problems("hunter2"), ["ENTREPOT_UPSTREAMS: found a single value, expected a list of upstreams"]);
});
