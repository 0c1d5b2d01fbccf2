// What a client is told to ask is asked of the router of the same configuration: it has to lead to the upstream that was meant.
import t from "tap";
import { createRouter } from "../../src/app/router.ts";
import { ClientProblem } from "../../src/client-config/mirror.ts";
import { mirrorAt, mirrorOfConfig } from "../../src/client-config/mirror-of-config.ts";
import { type Manner, type Way, waysOf } from "../../src/client-config/ways.ts";
import { parseTarget } from "../../src/oci/route.ts";
import { configOf, upstreamsYaml } from "../fixtures/loading.ts";
import { MemoryUpstream } from "../fixtures/memory-upstream.ts";

const url = new URL("http://mirror.example.com:5000");

const manners: readonly Manner[] = [
  { client: "containerd", namespace: true, path: "before" },
  { client: "docker", namespace: false, path: "before", hostsFirst: true },
  { client: "old docker", namespace: false, path: "none", hostsFirst: true },
  { client: "podman", namespace: false, path: "after" },
  { client: "BuildKit", namespace: true, path: "after" },
];

const corp = "name: corp, url: https://registry.example.com";
const hub = "name: hub, url: https://registry-1.docker.io";
const quay = "name: quay, url: https://quay.example.com";
const configurations: readonly (readonly string[])[] = [
  [corp],
  [hub],
  [corp, hub],
  [hub, corp],
  [corp, quay],
  [`${corp}, namespaces: [registry.example.com]`, quay],
  [`${corp}, namespaces: [registry.example.com, registry.example.net]`, `${hub}, component: hub`],
  [corp, `${hub}, component: hub, hosts: [hub.example.com]`, `${quay}, hosts: [quay.mirror.example.com]`],
  [`${corp}, hosts: [corp.example.com]`, `${quay}, namespaces: [quay.example.com], component: quay`],
  [hub, `${corp}, namespaces: [registry.example.com]`, `${quay}, component: q, hosts: [q.example.com]`],
];

/** The target and the Host header with which the client asks for an image of the registry. */
function asks({ registry, url }: Way, { path, namespace }: Manner): { target: string; host: string } {
  const own = url.pathname.replace(/\/$/, "");
  const target = path === "after" ? `/v2${own}/team/app` : `${own}/v2/team/app`;
  return { target: `${target}/manifests/1${namespace ? `?ns=${registry.host}` : ""}`, host: url.host };
}

t.test("whatever address a client is given leads to the upstream it stands for", (t) => {
  let led = 0;
  for (const written of configurations) {
    const config = configOf({ yaml: upstreamsYaml(...written) });
    const router = createRouter(
      config,
      config.upstreams.map(({ name }) => new MemoryUpstream(name)),
    );
    const mirror = mirrorOfConfig(config, url);
    for (const manner of manners) {
      let ways: readonly Way[] = [];
      try {
        ways = waysOf(mirror, manner).ways;
      } catch (error) {
        if (!(error instanceof ClientProblem)) throw error;
      }
      for (const way of ways) {
        const { target, host } = asks(way, manner);
        const route = parseTarget(target);
        if (typeof route === "string") throw new Error(target);
        const routed = router.route(route, host);
        const [first] = routed.kind === "routed" ? routed.targets : [];
        const said = `${manner.client} of ${written.join("; ")}: ${host}${target}`;
        t.equal(first?.upstream.name, way.registry.upstream, said);
        t.match(first?.repository, /^(?:library\/)?team\/app$/, "without what named the upstream");
        led++;
      }
    }
  }
  t.ok(led > 60, `${led} ways were tried`);
  t.end();
});

t.test("containerd reaches every upstream of every configuration, by its namespace or a path", (t) => {
  const containerd = manners[0] as Manner;
  for (const written of configurations) {
    const mirror = mirrorOfConfig(configOf({ yaml: upstreamsYaml(...written) }), url);
    const { ways, notes } = waysOf(mirror, containerd);
    t.equal(ways.length, mirror.registries.length, written.join("; "));
    t.strictSame(notes, []);
  }
  t.end();
});

t.test("what a client cannot say is told with the remedy, and the others go on", (t) => {
  const mirror = mirrorOfConfig(configOf({ yaml: upstreamsYaml(corp, quay) }), url);
  const { ways, notes } = waysOf(mirror, manners[3] as Manner);
  t.strictSame(
    ways.map(({ registry }) => registry.host),
    ["registry.example.com"],
  );
  t.strictSame(notes, [
    "podman cannot tell the mirror that it means quay (quay.example.com): give the upstream a component, or hosts: a name of the mirror that stands for it",
  ]);
  t.end();
});

t.test("two upstreams of one host: the second needs a namespace", (t) => {
  const both = [
    "name: local, url: https://artifactory.example.com/docker-local",
    "name: remote, url: https://artifactory.example.com/docker-remote",
  ];
  const mirror = mirrorOfConfig(configOf({ yaml: upstreamsYaml(...both) }), url);
  const { ways, notes } = waysOf(mirror, manners[0] as Manner);
  t.equal(ways.length, 1);
  t.match(notes[0], /^remote \(artifactory\.example\.com\) has the same host as another upstream/);
  t.end();
});

t.test("a mirror below a path is not for clients that put it behind /v2/", (t) => {
  const below = new URL("https://proxy.example.com/registry");
  const mirror = mirrorOfConfig(configOf({ yaml: upstreamsYaml(corp) }), below);
  t.equal(waysOf(mirror, manners[0] as Manner).ways[0]?.url.href, "https://proxy.example.com/registry");
  t.throws(() => waysOf(mirror, manners[3] as Manner), /podman puts the path of a mirror behind \/v2\//);
  t.end();
});

t.test("without a configuration the address is taken as it is, for one registry", (t) => {
  const hubs = mirrorAt(new URL("http://mirror.example.com:5000/hub"), ["docker.io"]);
  for (const manner of manners)
    t.equal(waysOf(hubs, manner).ways[0]?.url.href, "http://mirror.example.com:5000/hub", manner.client);
  const two = mirrorAt(url, ["registry.example.com", "docker.io"]);
  t.equal(waysOf(two, manners[0] as Manner).ways.length, 2, "containerd says which it means");
  t.match(waysOf(two, manners[3] as Manner).notes, [
    /podman cannot tell the mirror that it means docker\.io/,
  ]);
  t.end();
});
