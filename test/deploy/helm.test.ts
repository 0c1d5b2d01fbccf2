// The chart as helm reads and renders it, against the types of the Kubernetes API, the settings of the mirror, and the
// manifests of deploy/kubernetes, which say the same.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse, parseAllDocuments } from "yaml";
import { problemsOf } from "../fixtures/deployed-configuration.ts";
import { compiledManifests, type Manifest, manifestsOf } from "../fixtures/kubernetes-manifests.ts";
import { attempt, type Ran } from "../system/fixtures/child.ts";
import { kubernetesTools } from "../system/fixtures/kubernetes-tools.ts";

const root = join(import.meta.dirname, "../..");
const chart = join(root, "deploy/helm/entrepot");
const values = { one: join(chart, "ci/one-values.yaml"), three: join(chart, "ci/three-values.yaml") };

t.test("the chart and the program have one version", async (t) => {
  const { version, appVersion } = parse(readFileSync(join(chart, "Chart.yaml"), "utf8"));
  const program = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  t.same([version, appVersion], [program.version, program.version]);
});

t.test("helm", async (t) => {
  const tools = await kubernetesTools(t);
  if (tools === undefined) return;
  const helm = (...args: readonly string[]): Promise<Ran> => {
    const home = t.testdirName;
    return attempt(tools.helm, args, {
      env: { HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home },
    });
  };
  const rendered = async (...args: readonly string[]): Promise<readonly Manifest[]> => {
    const ran = await helm("template", "entrepot", chart, "--namespace", "entrepot", ...args);
    if (ran.code !== 0) throw new Error(ran.output);
    return parseAllDocuments(ran.standardOutput)
      .map((document) => document.toJS() as Manifest | null)
      .filter((manifest) => manifest !== null);
  };
  /** Every value that may be left out. */
  const everything = join(t.testdir(), "values.yaml");
  writeFileSync(
    everything,
    JSON.stringify({
      imagePullSecrets: [{ name: "registry" }],
      config: {
        listenTls: { certFile: "/run/secrets/entrepot/tls.crt", keyFile: "/run/secrets/entrepot/tls.key" },
        opsTls: { certFile: "/run/secrets/entrepot/tls.crt", keyFile: "/run/secrets/entrepot/tls.key" },
      },
      persistence: { size: "1Ti", storageClass: "local" },
      service: { type: "NodePort", nodePort: 30500, annotations: { "example.com/key": "value" } },
      networkPolicy: { clients: [{ ipBlock: { cidr: "10.1.0.0/16" } }], monitoring: [] },
      env: [{ name: "HTTPS_PROXY", value: "http://proxy.example.com:3128" }],
      podAnnotations: { "example.com/key": "value" },
      nodeSelector: { "kubernetes.io/os": "linux" },
      tolerations: [{ key: "cache", operator: "Exists" }],
      affinity: { nodeAffinity: {} },
    }),
  );

  await t.test("lint", async (t) => {
    for (const file of Object.values(values)) {
      const { code, output } = await helm("lint", "--strict", chart, "--values", file);
      t.equal(code, 0, output);
    }
  });

  await t.test("what it renders is what the API takes, and the mirror", async (t) => {
    for (const args of [
      ["--values", values.one],
      ["--values", values.three, "--values", everything],
    ]) {
      const manifests = await rendered(...args);
      const errors = await compiledManifests(t, manifests);
      if (errors === undefined) return;
      t.equal(errors, "");
      const file = manifests.find(({ kind }) => kind === "ConfigMap")?.data["entrepot.yaml"];
      // No certificate is made for the test.
      const problems = problemsOf({ env: {}, file }).filter(
        (problem) => !/^(?:listen|ops)Tls\./.test(problem),
      );
      t.same(problems, []);
    }
  });

  await t.test("what is served over TLS is asked over TLS", async (t) => {
    const schemes = async (...args: string[]) => {
      const set = (await rendered(...args)).find(({ kind }) => kind === "StatefulSet");
      const [container] = set?.spec.template.spec.containers ?? [];
      const probes = ["startupProbe", "readinessProbe", "livenessProbe"];
      return probes.map((name) => container?.[name].httpGet.scheme);
    };
    t.same(await schemes("--values", values.one, "--values", everything), ["HTTPS", "HTTPS", "HTTPS"]);
    t.same(await schemes("--values", values.three), [undefined, undefined, undefined]);
  });

  await t.test("with their values it is the manifests of deploy/kubernetes", async (t) => {
    const file = values.three;
    const ours = await rendered("--values", file);
    const theirs = manifestsOf("deploy/kubernetes");
    for (const { kind, metadata } of ours) {
      const spec = (all: readonly Manifest[]) => {
        const found = all.find((one) => one.kind === kind && one.metadata.name === metadata.name);
        return withoutNames({ spec: found?.spec, data: parsedData(found) });
      };
      t.same(spec(ours), spec(theirs), `${kind} ${metadata.name}`);
    }
    t.equal(ours.length, 6);
  });

  await t.test("nodes that speak TLS are asked so", async (t) => {
    const manifests = await rendered("--values", values.three, "--values", everything);
    const set = manifests.find(({ kind }) => kind === "StatefulSet");
    const [{ env, readinessProbe }] = set?.spec.template.spec.containers ?? [{}];
    t.equal(readinessProbe.httpGet.scheme, "HTTPS");
    const address = env.find(({ name }: Manifest) => name === "ENTREPOT_NODE_ADDRESS");
    t.match(address.value, /^https:/);
  });

  await t.test("clients that are named are the only ones, but for the nodes", async (t) => {
    const manifests = await rendered("--values", values.three, "--values", everything);
    const policy = manifests.find(({ kind }) => kind === "NetworkPolicy");
    t.match(policy?.spec.ingress[0].from, [
      { ipBlock: { cidr: "10.1.0.0/16" } },
      { podSelector: { matchLabels: { "app.kubernetes.io/name": "entrepot" } } },
    ]);
  });

  await t.test("what is missing or wrong is told", async (t) => {
    const template = (...args: readonly string[]) => helm("template", "entrepot", chart, ...args);
    t.match((await template()).output, /config\.upstream\.url .* is missing/);
    const url = ["--set", "config.upstream.url=https://registry.example.com"];
    t.match((await template(...url)).output, /image\.repository is missing/);
    const set = async (text: string) => (await template("--values", values.one, "--set", text)).output;
    t.match(await set("replica=2"), /replica/);
    t.match(await set("replicas=0"), /replicas/);
    t.match(await set("persistence.size=much"), /persistence/);
    t.match(await set("config.listen=:5050"), /config/);
  });
});

/** The YAML text in a ConfigMap, as a value: how it is laid out does not matter. */
function parsedData(manifest: Manifest | undefined): unknown {
  const text = manifest?.data?.["entrepot.yaml"];
  return text === undefined ? undefined : parse(text);
}

/** Without what helm adds or each names in its own way. */
function withoutNames(value: unknown): unknown {
  const text = JSON.stringify(value, (key, held) => {
    if (key === "app.kubernetes.io/instance" || key === "app.kubernetes.io/version") return undefined;
    if (key === "app.kubernetes.io/managed-by" || key === "helm.sh/chart") return undefined;
    if (key === "checksum/config" || key === "image" || key === "imagePullPolicy") return undefined;
    // The defaults, said aloud: where the pods listen, the cache directory of the image, the type of a Service.
    if (key === "env")
      return (held as { name: string }[]).filter(({ name }) => !/_LISTEN$|_CACHE_DIR$/.test(name));
    if (key === "type" && held === "ClusterIP") return undefined;
    if (key === "dir" && held === "/var/lib/entrepot") return undefined;
    return held;
  });
  return JSON.parse(text);
}
