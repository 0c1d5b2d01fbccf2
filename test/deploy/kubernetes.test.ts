// The manifests against the types of the Kubernetes API, as TypeScript checks them: a field that is not there, misspelt
// or of the wrong kind is an error. And what types cannot say.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { parse, parseAllDocuments } from "yaml";
import { defaultConfiguration, problemsOf } from "../fixtures/deployed-configuration.ts";
import { attempt } from "../system/fixtures/child.ts";

const directory = join(import.meta.dirname, "../../deploy/kubernetes");
const files = readdirSync(directory).sort();

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  // biome-ignore lint/suspicious/noExplicitAny: their shape is what the first test checks
  readonly [field: string]: any;
}

const manifests: readonly Manifest[] = files
  .filter((file) => file !== "kustomization.yaml")
  .flatMap((file) => parseAllDocuments(readFileSync(join(directory, file), "utf8")))
  .map((document) => document.toJS() as Manifest);

function named(kind: string, name = "entrepot"): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

const pods = () => named("StatefulSet").spec.template.spec;
const container = () => pods().containers[0];

const modules: Readonly<Record<string, string>> = {
  v1: "core/v1",
  "apps/v1": "apps/v1",
  "policy/v1": "policy/v1",
  "networking.k8s.io/v1": "networking/v1",
};

/** What the compiler says of the manifests, each a literal of its type. */
async function compiled(t: Test, all: readonly Manifest[], types: string): Promise<string> {
  const path = t.testdir();
  const lines = all.map(
    (manifest, at) =>
      `export const m${at}: import("kubernetes-types/${modules[manifest.apiVersion]}").${manifest.kind} = ${JSON.stringify(manifest)};`,
  );
  writeFileSync(join(path, "manifests.ts"), lines.join("\n"));
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: "esnext",
    moduleResolution: "bundler",
    types: [],
    paths: { "kubernetes-types/*": [join(types, "*")] },
  };
  writeFileSync(join(path, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["manifests.ts"] }));
  const compiler = fileURLToPath(new URL("../../node_modules/.bin/tsc", import.meta.url));
  // Without the loader that the test runner gives to children.
  return (await attempt("env", ["-u", "NODE_OPTIONS", compiler, "-p", path])).output;
}

t.test("types of the Kubernetes API", async (t) => {
  let types: string;
  try {
    types = dirname(createRequire(import.meta.url).resolve("kubernetes-types/package.json"));
  } catch {
    if (process.env.CI === "true") t.fail("kubernetes-types is not installed");
    else t.plan(0, "kubernetes-types is not installed");
    return;
  }
  t.equal(await compiled(t, manifests, types), "");
  const misspelt = structuredClone(named("StatefulSet"));
  misspelt.spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem = true;
  t.match(await compiled(t, [misspelt], types), /readOnlyRootFileSystem/, "what is wrong is found");
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
