import t from "tap";
import { nodeNameWarning } from "../../src/config/rules.ts";
import { nodeNameGrammar } from "../../src/ports/datacenter/nodes.ts";
import { configOf, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const own = { ENTREPOT_NODE_ADDRESS: "http://10.0.0.7:5000", ENTREPOT_NODE_SECRET: "s".repeat(32) };
const others = "http://10.0.0.7:5000, http://10.0.0.8:5000/";

t.test("the other nodes, from the file or the environment", (t) => {
  const addresses = ["http://10.0.0.7:5000", "http://10.0.0.8:5000"];
  t.same(configOf({ env: { ...upstreamUrl, ...own, ENTREPOT_NODES: others } }).nodes, addresses);
  const yaml = `nodes: [${others}]`;
  t.same(configOf({ yaml, env: { ...upstreamUrl, ...own } }).nodes, addresses);
  t.end();
});

t.test("a name that may be configured is one that the other nodes take, and no other", (t) => {
  const problems = (name: string) => problemsOf({ env: { ...upstreamUrl, ENTREPOT_NODE_NAME: name } });
  for (const name of ["a", "mirror-1.dc_2", "x".repeat(128)]) {
    t.same(problems(name), [], name);
    t.match(name, nodeNameGrammar);
  }
  for (const name of ["x".repeat(129), "a b", 'a"', "a\u0007", "ö", "a/b", "a\nb"]) {
    t.not(problems(name).length, 0, name);
    t.notMatch(name, nodeNameGrammar);
  }
  t.end();
});

t.test("a machine's name that the others do not take is warned of, where there are others", (t) => {
  const { node, nodes, redis } = configOf({ env: { ...upstreamUrl, ...own, ENTREPOT_NODES: others } });
  const warningOf = (name: string, changes: object = {}) =>
    nodeNameWarning({ node: { ...node, name }, nodes, redis, ...changes });
  t.match(
    warningOf("dc 1"),
    /^this machine's name is "dc 1", which the other nodes do not take .* node\.name is set/,
  );
  t.equal(warningOf("dc_1"), undefined);
  t.equal(warningOf("dc 1", { nodes: [] }), undefined, "alone it is known to nobody anyway");
  const shared = configOf({ env: { ...upstreamUrl, ENTREPOT_REDIS_URL: "redis://redis.example.com" } });
  t.match(nodeNameWarning({ ...shared, node: { ...shared.node, name: "ö" } }), /node\.name/);
  t.end();
});

t.test("they need to know where this one is, and the secret of all", (t) => {
  const problems = (env: object) => problemsOf({ env: { ...upstreamUrl, ENTREPOT_NODES: others, ...env } });
  t.same(problems({}), [
    "ENTREPOT_NODES: found nodes without the address of this one, expected node.address as well",
    "ENTREPOT_NODES: found nodes without their secret, expected node.secret or node.secretFile as well",
  ]);
  t.same(problems(own), []);
  t.match(problems({ ...own, ENTREPOT_NODES: "10.0.0.7" }), [/expected http:\/\/host:port/]);
  t.match(problems({ ...own, ENTREPOT_NODES: Array(66).fill("http://10.0.0.7:5000").join(",") }), [
    /at most 65 nodes/,
  ]);
  t.end();
});
