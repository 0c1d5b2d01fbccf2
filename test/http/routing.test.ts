import t from "tap";
import { Router, type Routing } from "../../src/http/routing.ts";
import type { Repository } from "../../src/oci/name.ts";
import { parseTarget, type Route } from "../../src/oci/route.ts";
import { MemoryUpstream } from "../fixtures/memory-upstream.ts";

function routing(name: string, changes: Partial<Routing> = {}): Routing {
  return {
    upstream: new MemoryUpstream(name),
    component: undefined,
    namespaces: [],
    hosts: [],
    library: false,
    allow: [],
    deny: [],
    next: undefined,
    ...changes,
  };
}

function routeOf(target: string): Route {
  const route = parseTarget(target);
  if (typeof route === "string") throw new Error(`${target}: ${route}`);
  return route;
}

/** `name repository` of every upstream in turn; "unknown" when there is none. */
function ask(router: Router, target: string, host?: string): string[] | "unknown" {
  const routed = router.route(routeOf(target), host);
  if (routed.kind === "unknown") return "unknown";
  return routed.targets.map(({ upstream, repository }) => `${upstream.name} ${repository}`);
}

const hub = routing("hub", {
  component: "docker.io",
  namespaces: ["docker.io"],
  hosts: ["hub.mirror"],
  library: true,
});
const corp = routing("corp", { namespaces: ["registry.example.com:8443"] });
const two = new Router([corp, hub]);

t.test("the default is the first upstream", async (t) => {
  t.strictSame(ask(two, "/v2/team/app/manifests/1"), ["corp team/app"]);
});

t.test("prefix, first component, namespace and virtual host each name an upstream", async (t) => {
  t.strictSame(ask(two, "/hub/v2/team/app/manifests/1"), ["hub team/app"]);
  t.strictSame(ask(two, "/v2/docker.io/team/app/manifests/1"), ["hub team/app"]);
  t.strictSame(ask(two, "/v2/team/app/manifests/1?ns=docker.io"), ["hub team/app"]);
  t.strictSame(ask(two, "/v2/team/app/manifests/1?ns=REGISTRY.example.com:8443"), ["corp team/app"]);
  t.strictSame(ask(two, "/v2/team/app/manifests/1", "hub.mirror:5000"), ["hub team/app"]);
  t.strictSame(ask(two, "/v2/team/app/manifests/1", "HUB.mirror"), ["hub team/app"]);
  t.strictSame(ask(two, "/v2/team/app/manifests/1", "other.mirror"), ["corp team/app"]);
});

t.test("ways that agree count once; containerd sends the namespace besides the path", async (t) => {
  t.strictSame(ask(two, "/v2/docker.io/library/app/manifests/1?ns=docker.io"), ["hub library/app"]);
  t.strictSame(ask(two, "/hub/v2/library/app/manifests/1?ns=docker.io", "hub.mirror"), ["hub library/app"]);
  t.strictSame(ask(two, "/hub/v2/docker.io/library/app/manifests/1"), ["hub library/app"]);
});

t.test("a contradiction, an unknown prefix or an unknown namespace is nobody's", async (t) => {
  t.equal(ask(two, "/corp/v2/team/app/manifests/1?ns=docker.io"), "unknown");
  t.equal(ask(two, "/v2/docker.io/team/app/manifests/1?ns=registry.example.com:8443"), "unknown");
  t.equal(ask(two, "/other/v2/team/app/manifests/1"), "unknown");
  t.equal(ask(two, "/v2/team/app/manifests/1?ns=ghcr.example"), "unknown");
});

t.test("a prefix decides whatever namespace nobody claims stands beside it", async (t) => {
  t.strictSame(ask(two, "/corp/v2/team/app/manifests/1?ns=elsewhere.example.com"), ["corp team/app"]);
});

t.test("without any configured namespace there is nothing to tell apart", async (t) => {
  const one = new Router([routing("only")]);
  t.strictSame(ask(one, "/v2/team/app/manifests/1?ns=whatever"), ["only team/app"]);
});

t.test("a component of another upstream below a prefix is part of the repository", async (t) => {
  t.strictSame(ask(two, "/corp/v2/docker.io/app/manifests/1"), ["corp docker.io/app"]);
});

t.test("library/ is added to one component, and only where it is asked for", async (t) => {
  t.strictSame(ask(two, "/hub/v2/app/manifests/1"), ["hub library/app"]);
  t.strictSame(ask(two, "/v2/docker.io/app/manifests/1"), ["hub library/app"]);
  t.strictSame(ask(two, "/corp/v2/app/manifests/1"), ["corp app"]);
});

t.test(
  "library/ is taken away from what docker asks a registry mirror for, where it is asked for",
  async (t) => {
    const mirror = new Router([routing("corp", { library: "strip" })]);
    t.strictSame(ask(mirror, "/v2/library/app/manifests/1"), ["corp app"]);
    t.strictSame(ask(mirror, "/v2/app/manifests/1"), ["corp app"]);
    t.strictSame(ask(mirror, "/v2/library/team/app/manifests/1"), ["corp library/team/app"], "not docker's");
    t.strictSame(ask(mirror, "/v2/team/library/manifests/1"), ["corp team/library"]);
    t.strictSame(ask(mirror, "/v2/librarys/app/manifests/1"), ["corp librarys/app"]);
  },
);

t.test("OCI-Namespace is for answers the namespace had a part in", async (t) => {
  const namespaceOf = (target: string): string | undefined => {
    const routed = two.route(routeOf(target), undefined);
    return routed.kind === "routed" ? routed.namespace : "unknown";
  };
  t.equal(namespaceOf("/v2/a/manifests/1?ns=docker.io"), "docker.io");
  t.equal(namespaceOf("/hub/v2/a/manifests/1?ns=docker.io"), "docker.io");
  t.equal(namespaceOf("/v2/a/manifests/1"), undefined);
  t.equal(namespaceOf("/corp/v2/a/manifests/1?ns=elsewhere"), undefined);
});

t.test("next gives the order; a circle ends where it began; library/ is each upstream's own", async (t) => {
  const chained = new Router([
    routing("a", { next: { upstream: "b", on: ["absent"] } }),
    routing("b", { library: true, next: { upstream: "a", on: ["absent", "failure"] } }),
  ]);
  t.strictSame(ask(chained, "/v2/app/manifests/1"), ["a app", "b library/app"]);
  t.strictSame(ask(chained, "/b/v2/app/manifests/1"), ["b library/app", "a app"]);
  const routed = chained.route(routeOf("/v2/app/manifests/1"), undefined);
  t.match(routed, {
    targets: [
      { onAbsent: true, onFailure: false },
      { onAbsent: true, onFailure: true },
    ],
  });
});

t.test("allow and deny: by repository and by tag, deny wins", async (t) => {
  const allowed = (changes: Partial<Routing>, target: string): boolean => {
    const routed = new Router([routing("a", changes)]).route(routeOf(target), undefined);
    return routed.kind === "routed" && routed.targets[0].allowed;
  };
  const digest = `sha256:${"a".repeat(64)}`;
  const teams = { allow: ["team/**"], deny: ["team/secret/**", "**:nightly"] };
  t.ok(allowed(teams, "/v2/team/app/manifests/1"));
  t.ok(allowed(teams, `/v2/team/app/blobs/${digest}`));
  t.notOk(allowed(teams, "/v2/other/app/manifests/1"));
  t.notOk(allowed(teams, `/v2/other/app/blobs/${digest}`));
  t.notOk(allowed(teams, "/v2/team/secret/app/manifests/1"));
  t.notOk(allowed(teams, "/v2/team/secret/app/tags/list"));
  t.notOk(allowed(teams, "/v2/team/app/manifests/nightly"));
  t.ok(allowed(teams, `/v2/team/app/manifests/${digest}`), "a denied tag says nothing about digests");
  const tags = { allow: ["team/app:v*"] };
  t.ok(allowed(tags, "/v2/team/app/manifests/v1"));
  t.notOk(allowed(tags, "/v2/team/app/manifests/latest"));
  t.ok(allowed(tags, `/v2/team/app/blobs/${digest}`), "the blobs of an allowed tag are needed");
  t.ok(allowed({}, "/v2/any/thing/manifests/1"));
  const library = { library: true, allow: ["library/*"] };
  t.ok(allowed(library, "/v2/busybox/manifests/1"), "globs see the name upstream sees");
});

t.test("the ping and the catalog have no repository", async (t) => {
  t.strictSame(ask(two, "/hub/v2/"), ["hub undefined"]);
  t.strictSame(ask(two, "/v2/_catalog?ns=docker.io"), ["hub undefined"]);
});

t.test("what stands below the name of an upstream is its repository", async (t) => {
  const below = (name: string, repository: string, tag?: string) =>
    new Router([corp, { ...hub, deny: ["*/secret:1"] }])
      .below(name, repository as Repository, tag)
      ?.map(({ upstream, repository, allowed }) => `${upstream.name} ${repository} ${allowed}`);
  t.strictSame(below("corp", "docker.io/app"), ["corp docker.io/app true"]);
  t.strictSame(below("hub", "docker.io/app"), ["hub docker.io/app true"]);
  t.strictSame(below("hub", "secret", "1"), ["hub library/secret false"]);
  t.equal(below("other", "app"), undefined);
});
