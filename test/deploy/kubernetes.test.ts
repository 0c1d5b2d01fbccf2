// The manifests against the types of the Kubernetes API, as TypeScript checks them: a field that is not there, misspelt
// or of the wrong kind is an error. And what types cannot say.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import t from "tap";
import { parse, parseAllDocuments } from "yaml";
import { defaultConfiguration, problemsOf } from "../fixtures/deployed-configuration.ts";
import { compiledManifests, type Manifest, manifestsOf } from "../fixtures/kubernetes-manifests.ts";
import { attempt } from "../system/fixtures/child.ts";
import { kubernetesTools } from "../system/fixtures/kubernetes-tools.ts";

const directory = join(import.meta.dirname, "../../deploy/kubernetes");
const files = readdirSync(directory).sort();
const manifests = manifestsOf("deploy/kubernetes");

function named(kind: string, name = "entrepot"): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

const pods = () => named("StatefulSet").spec.template.spec;
const container = () => pods().containers[0];

t.test("types of the Kubernetes API", async (t) => {
  const errors = await compiledManifests(t, manifests);
  if (errors === undefined) return;
  t.equal(errors, "");
  const misspelt = structuredClone(named("StatefulSet"));
  misspelt.spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem = true;
  t.match(await compiledManifests(t, [misspelt]), /readOnlyRootFileSystem/, "what is wrong is found");
});

t.test("kubectl kustomize", async (t) => {
  const tools = await kubernetesTools(t);
  if (tools === undefined) return;
  const built = async (path: string): Promise<readonly Manifest[]> => {
    const ran = await attempt(tools.kubectl, [
      "kustomize",
      "--load-restrictor",
      "LoadRestrictionsNone",
      path,
    ]);
    if (ran.code !== 0) throw new Error(ran.output);
    return parseAllDocuments(ran.standardOutput).map((document) => document.toJS() as Manifest);
  };
  const all = await built(directory);
  const set = all.find(({ kind }) => kind === "StatefulSet");
  t.equal(set?.spec.template.spec.containers[0].image, "registry.example.com/tools/entrepot:0.1.0");
  t.ok(all.every(({ kind, metadata }) => kind === "Namespace" || metadata.namespace === "entrepot"));

  await t.test("the overlay that it shows", async (t) => {
    const head = readFileSync(join(directory, "kustomization.yaml"), "utf8").split("apiVersion:")[0] ?? "";
    const lines = head.split("\n").filter((line) => line.startsWith("#   "));
    const overlay = t.testdir();
    const text = lines.map((line) => line.slice(4)).join("\n");
    t.match(text, "../entrepot/deploy/kubernetes");
    const base = relative(overlay, directory);
    writeFileSync(join(overlay, "kustomization.yaml"), text.replace("../entrepot/deploy/kubernetes", base));
    const patched = await built(overlay);
    const policy = patched.find(({ kind }) => kind === "NetworkPolicy");
    t.match(policy?.spec.ingress[0].from, [{ ipBlock: { cidr: "10.1.0.0/16" } }, { podSelector: {} }]);
    const image = patched.find(({ kind }) => kind === "StatefulSet")?.spec.template.spec.containers[0].image;
    t.equal(image, "your-registry.example.com/entrepot:0.1.0");
  });
});

t.test("what the settings name can be reached, and clients anywhere", async (t) => {
  const { egress, ingress } = named("NetworkPolicy").spec;
  const settings = parse(named("ConfigMap").data["entrepot.yaml"]);
  const anywhere = egress
    .filter(({ to }: Manifest) => to === undefined)
    .flatMap(({ ports }: Manifest) => ports);
  for (const url of [settings.upstream.url, settings.redis.url, settings.s3.endpoint]) {
    const { port, protocol } = new URL(url);
    const number = Number(port || { "https:": 443, "http:": 80, "redis:": 6379 }[protocol]);
    t.ok(
      anywhere.some((each: Manifest) => each.port === number && each.protocol === "TCP"),
      url,
    );
  }
  t.ok(anywhere.some((each: Manifest) => each.port === 53 && each.protocol === "UDP"));
  t.notMatch(JSON.stringify(manifests), /"cidr"/, "no address of some other cluster");
  const clients = ingress.find(({ ports }: Manifest) =>
    ports.some(({ port }: Manifest) => port === "registry"),
  );
  t.notOk(clients.from);
});

t.test("redis.example.yaml is the Redis of the settings", async (t) => {
  const { url, passwordFile } = parse(named("ConfigMap").data["entrepot.yaml"]).redis;
  const service = named("Service", "redis");
  t.equal(
    new URL(url).host,
    `${service.metadata.name}.${named("Namespace").metadata.name}.svc:${service.spec.ports[0].port}`,
  );
  const pod = named("Deployment", "redis").spec.template;
  t.match(pod.metadata.labels, service.spec.selector);
  t.match(pod.metadata.labels, named("NetworkPolicy", "redis").spec.podSelector.matchLabels);
  t.match(
    named("StatefulSet").spec.template.metadata.labels,
    named("NetworkPolicy", "redis").spec.ingress[0].from[0].podSelector.matchLabels,
    "the nodes may ask it",
  );
  const [{ secret }] = pod.spec.volumes;
  t.equal(secret.secretName, "entrepot");
  t.ok(passwordFile.endsWith(`/${secret.items[0].key}`), "with the password they use");
  t.same(pod.spec.containers[0].securityContext, container().securityContext);
  t.match(pod.spec.securityContext, { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
});

t.test("kustomization.yaml names every manifest but the example", async (t) => {
  const { resources } = parse(readFileSync(join(directory, "kustomization.yaml"), "utf8"));
  const others = files.filter((file) => file !== "kustomization.yaml" && !file.includes("example"));
  t.same([...resources].sort(), others);
});

t.test("the pods keep the restricted profile of the Pod Security Standards", async (t) => {
  t.match(pods().securityContext, {
    runAsNonRoot: true,
    runAsUser: 65532,
    seccompProfile: { type: "RuntimeDefault" },
  });
  t.same(container().securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  });
  t.equal(pods().automountServiceAccountToken, false);
  const kinds = pods().volumes.map((volume: object) => Object.keys(volume).find((key) => key !== "name"));
  t.same(kinds, ["configMap", "secret", "emptyDir"], "and nothing of the host");
});

/** As the kubelet does it, for the first pod of the set. */
function expanded(value: string | undefined): string | undefined {
  return value?.replaceAll("$(POD_NAME)", "entrepot-0").replaceAll("$(POD_NAMESPACE)", "entrepot");
}

t.test("the settings", async (t) => {
  const env: Record<string, string> = Object.fromEntries(
    container().env.map(({ name, value }: { name: string; value?: string }) => [name, expanded(value)]),
  );
  const file: string = named("ConfigMap").data["entrepot.yaml"];
  t.same(problemsOf({ env, file }), []);
  const mounts = container().volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath);
  const secrets = [...file.matchAll(/File: (\S+)\/([^/\s]+)$/gm)].map(([, path, name]) => ({ path, name }));
  t.ok(secrets.every(({ path }) => mounts.includes(path)));
  t.same(
    secrets.map(({ name }) => name).sort(),
    Object.keys(named("Secret").stringData).sort(),
    "the secret has what the settings name",
  );
  t.ok(Object.values(named("Secret").stringData).every((value) => value === "PLACEHOLDER"));
  t.ok(mounts.includes(parse(file).cache.dir), "the cache is on the volume");
  const { drainTimeout } = defaultConfiguration();
  t.ok(pods().terminationGracePeriodSeconds >= drainTimeout / 1000 + 20, "time to drain");
});

t.test("what one part names, another has", async (t) => {
  const ports = container().ports.map(({ name }: { name: string }) => name);
  for (const service of ["entrepot", "entrepot-nodes"])
    for (const { targetPort } of named("Service", service).spec.ports) t.ok(ports.includes(targetPort));
  for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
    const { path, port } = container()[probe].httpGet;
    const [at, where] = probe === "readinessProbe" ? ["/readyz", "registry"] : ["/livez", "ops"];
    t.same({ path, port }, { path: at, port: where }, probe);
  }
  const labels = named("StatefulSet").spec.template.metadata.labels;
  for (const selector of [
    named("StatefulSet").spec.selector.matchLabels,
    named("Service").spec.selector,
    named("Service", "entrepot-nodes").spec.selector,
    named("PodDisruptionBudget").spec.selector.matchLabels,
    named("NetworkPolicy").spec.podSelector.matchLabels,
    ...pods().topologySpreadConstraints.map((spread: Manifest) => spread.labelSelector.matchLabels),
  ])
    t.match(labels, selector);
  t.equal(named("StatefulSet").spec.serviceName, named("Service", "entrepot-nodes").metadata.name);
  const mounted = container().volumeMounts.map(({ name }: { name: string }) => name);
  const volumes = [...pods().volumes, ...named("StatefulSet").spec.volumeClaimTemplates].map(
    ({ name, metadata }) => name ?? metadata.name,
  );
  t.same(mounted.sort(), volumes.sort());
});
