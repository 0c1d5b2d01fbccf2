import t from "tap";
import { readEnvironment } from "../../src/config/environment.ts";
import { settingKeys, settingOf } from "../../src/config/settings.ts";

t.test("every variable of the table is read", async (t) => {
  for (const key of settingKeys) {
    const { env } = settingOf(key);
    if (env === undefined) continue;
    const { entries, problems } = readEnvironment({ [env]: "x" });
    t.same([...entries.keys()], [key], env);
    t.same(problems, []);
  }
});

t.test("items of a list are separated by commas", async (t) => {
  const read = (text: string) =>
    readEnvironment({ ENTREPOT_UPSTREAM_NAMESPACES: text }).entries.get("upstream.namespaces")?.input;
  t.same(read("docker.io"), ["docker.io"]);
  t.same(read(" a.example.com, b.example.com:5000 ,"), ["a.example.com", "b.example.com:5000"]);
  t.same(read(","), []);
});

t.test("an empty variable counts as not set", async (t) => {
  t.equal(readEnvironment({ ENTREPOT_LISTEN: "" }).entries.size, 0);
});

t.test("variables of other programs are none of ours", async (t) => {
  t.same(readEnvironment({ PATH: "/bin", ENTREPOTS: "x", entrepot_listen: "x" }).problems, []);
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
    t.same(readEnvironment({ [name as string]: "hunter2" }).problems, [
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
  t.same(readEnvironment(links), { entries: new Map(), problems: [] });
});
