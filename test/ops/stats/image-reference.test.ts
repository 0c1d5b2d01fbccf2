import t from "tap";
import { Router } from "../../../src/http/routing.ts";
import { referenceText } from "../../../src/oci/reference.ts";
import { parseTarget } from "../../../src/oci/route.ts";
import {
  type NamedUpstream,
  parseImageReference,
  parseRepositoryReference,
  type ReferenceNames,
} from "../../../src/ops/stats/image-reference.ts";
import { MemoryUpstream } from "../../fixtures/memory-upstream.ts";

const digest = `sha256:${"a1".repeat(32)}`;

function upstream(name: string, more: Partial<NamedUpstream> = {}): NamedUpstream {
  const url = new URL(`https://${name}.example.org/v2/docker`);
  return { name, url, namespaces: [], hosts: [], library: false, ...more };
}

const main = upstream("main", { namespaces: ["registry.example.com:8443"] });
const names: ReferenceNames = {
  upstreams: [
    main,
    upstream("hub", {
      component: "dockerhub",
      namespaces: ["docker.io"],
      hosts: ["hub.mirror.example.com"],
      library: true,
    }),
    upstream("corp", { library: "strip" }),
    upstream("dotted", { component: "quay.example.net" }),
    upstream("twin-a", { url: new URL("https://shared.example.org/a") }),
    upstream("twin-b", { url: new URL("https://shared.example.org/b") }),
  ],
  own: ["mirror.example.com", "node-1"],
  port: 5000,
};

/** `upstream repository reference`, or what is wrong. */
function read(text: string, of = names): string {
  const image = parseImageReference(text, of);
  if ("problem" in image) return image.problem;
  return `${image.upstream} ${image.repository} ${referenceText(image.reference)}`;
}

t.test("what is understood", (t) => {
  const cases: readonly [string, string][] = [
    ["team/app:1.0", "main team/app 1.0"],
    ["app", "main app latest"],
    [`team/app@${digest}`, `main team/app ${digest}`],
    [`team/app:1.0@${digest}`, `main team/app ${digest}`],
    ["main/team/app:1", "main team/app 1"],
    ["hub/busybox", "hub library/busybox latest"],
    ["dockerhub/team/x:2", "hub team/x 2"],
    ["docker.io/busybox:1", "hub library/busybox 1"],
    ["DOCKER.IO/busybox:1", "hub library/busybox 1"],
    ["docker.io/dockerhub/team/x:2", "hub team/x 2"],
    ["docker.io/main/app:1", "hub main/app 1"],
    ["corp/library/busybox:1", "corp busybox 1"],
    ["corp/busybox:1", "corp busybox 1"],
    ["quay.example.net/team/app:1", "dotted team/app 1"],
    ["registry.example.com:8443/team/app:1", "main team/app 1"],
    ["corp.example.org/dockerhub/app:1", "corp dockerhub/app 1"],
    ["hub.mirror.example.com:5000/busybox:1", "hub library/busybox 1"],
    ["mirror.example.com:5000/team/app:1", "main team/app 1"],
    ["mirror.example.com/dockerhub/team/app:1", "hub team/app 1"],
    ["mirror.example.com/hub/team/app:1", "hub team/app 1"],
    ["balancer.example.com:5000/team/app:1", "main team/app 1"],
    ["node-1:6000/team/app", "main team/app latest"],
    ["localhost/team/app", "main team/app latest"],
    ["192.0.2.7:6000/team/app", "main team/app latest"],
    ["[2001:db8::1]:6000/team/app", "main team/app latest"],
    ["docker://mirror.example.com/app:1", "main app 1"],
    ["  team/app:1.0  ", "main team/app 1.0"],
    ["hub", "main hub latest"],
  ];
  for (const [text, wanted] of cases) t.equal(read(text), wanted, text);
  t.end();
});

t.test("what is not", (t) => {
  const wrong = [
    ..."|:|/|Team/App|a:b:c|team/app@sha256:1|a b|<img>|../x|@|hub/|team/app:1.*".split("|"),
    "a".repeat(501),
  ];
  for (const text of wrong) t.match(read(text), /^expected \[upstream\/\]repository:tag/, text.slice(0, 20));
  t.end();
});

t.test("another registry is not taken for this mirror, nor one of two for the other", (t) => {
  t.match(read("quay.example.com/team/app:1"), /^the registry quay\.example\.com is none that this mirror/);
  t.match(read("mirror:6000/app:1"), /^the registry mirror:6000 is none/);
  t.match(read("shared.example.org/app:1"), /the registry of several upstreams/);
  t.match(
    read("registry.example.com:8443/dockerhub/app:1"),
    /^registry\.example\.com:8443 is of upstream main, dockerhub of hub/,
  );
  t.match(read("mirror.example.com:5000/app", { ...names, own: [], port: undefined }), /is none that/);
  t.end();
});

t.test("a repository, and patterns over its tags", (t) => {
  t.match(parseRepositoryReference("hub/busybox:1.*", names), {
    upstream: "hub",
    repository: "library/busybox",
    written: "busybox",
    tag: "1.*",
    digest: undefined,
  });
  t.match(parseRepositoryReference(`team/app@${digest}`, names), { tag: undefined, digest });
  t.match(parseRepositoryReference("team/app", names), { tag: undefined, digest: undefined });
  t.end();
});

t.test("it is the upstream of a client's request by the same name", (t) => {
  const upstreams = names.upstreams.map(({ name }) => new MemoryUpstream(name));
  const [first, ...others] = names.upstreams.map((named, at) => ({
    ...named,
    upstream: upstreams[at] as MemoryUpstream,
    allow: [],
    deny: [],
  }));
  if (first === undefined) throw new Error("there are upstreams");
  const router = new Router([first, ...others]);
  const cases: readonly [reference: string, target: string, host: string][] = [
    ["team/app:1", "/v2/team/app/manifests/1", "mirror.example.com:5000"],
    ["mirror.example.com:5000/dockerhub/app:1", "/v2/dockerhub/app/manifests/1", "mirror.example.com:5000"],
    ["hub.mirror.example.com/app:1", "/v2/app/manifests/1", "hub.mirror.example.com"],
    ["hub.mirror.example.com/corp/app:1", "/v2/corp/app/manifests/1", "hub.mirror.example.com"],
    [
      "hub.mirror.example.com/quay.example.net/a:1",
      "/v2/quay.example.net/a/manifests/1",
      "hub.mirror.example.com",
    ],
    ["docker.io/app:1", "/v2/app/manifests/1?ns=docker.io", "mirror.example.com"],
    ["docker.io/dockerhub/app:1", "/v2/dockerhub/app/manifests/1?ns=docker.io", "mirror.example.com"],
  ];
  for (const [reference, target, host] of cases) {
    const route = parseTarget(target);
    const routed = typeof route === "string" ? undefined : router.route(route, host);
    const [asked] = routed?.kind === "routed" ? routed.targets : [];
    t.equal(read(reference), `${asked?.upstream.name} ${asked?.repository} 1`, reference);
  }
  t.end();
});

t.test("why it is that upstream", (t) => {
  const chosenBy = (text: string, of = names) => {
    const image = parseImageReference(text, of);
    return "problem" in image ? undefined : image.chosenBy;
  };
  t.equal(chosenBy("dockerhub/team/x:2"), "dockerhub in the reference names it");
  t.equal(chosenBy("docker.io/busybox"), "docker.io in the reference names it");
  t.equal(chosenBy("team/app"), "the reference names none, and it is the first");
  t.equal(chosenBy("team/app", { ...names, upstreams: [main] }), "it is the only one");
  t.end();
});
