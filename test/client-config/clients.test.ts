// What is printed for each client, to the letter: these are the files that people have.
import t from "tap";
import { parse } from "yaml";
import {
  type ClientName,
  clientNames,
  clientSetup,
  clientsWithLogin,
} from "../../src/client-config/clients.ts";
import type { ClientMirror, ClientWishes } from "../../src/client-config/mirror.ts";
import { mirrorAt, mirrorOfConfig } from "../../src/client-config/mirror-of-config.ts";
import { configOf, upstreamsYaml } from "../fixtures/loading.ts";

const ca = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const plain = mirrorAt(new URL("http://mirror.example.com:5000"), ["registry.example.com"]);
const secure = mirrorAt(new URL("https://mirror.example.com"), ["registry.example.com"], ca);
const login = { username: "node", password: "hunter2" };
const yaml = upstreamsYaml(
  "name: corp, url: https://registry.example.com, namespaces: [registry.example.com]",
  "name: hub, url: https://registry-1.docker.io, component: hub",
);
const two = mirrorOfConfig(configOf({ yaml }), new URL("http://mirror.example.com:5000"));

/** Files by path. */
function files(client: ClientName, mirror: ClientMirror, wishes: Partial<ClientWishes> = {}) {
  const setup = clientSetup(client, mirror, { fallback: true, ...wishes });
  return Object.fromEntries(setup.files.map(({ path, text }) => [path, text]));
}

function lines(...text: readonly string[]): string {
  return `${text.join("\n")}\n`;
}

t.test("docker", (t) => {
  t.strictSame(files("docker", plain), {
    "/etc/docker/daemon.json": lines(
      "{",
      '  "registry-mirrors": [',
      '    "http://mirror.example.com:5000"',
      "  ],",
      '  "insecure-registries": [',
      '    "mirror.example.com:5000"',
      "  ]",
      "}",
    ),
  });
  const [path, text] = Object.entries(files("docker", secure))[0] as [string, string];
  t.strictSame(
    [path, JSON.parse(text)],
    ["/etc/docker/daemon.json", { "registry-mirrors": ["https://mirror.example.com"] }],
  );
  t.equal(files("docker", secure)["/etc/docker/certs.d/mirror.example.com/ca.crt"], ca);
  t.end();
});

t.test("docker: Docker Hub behind the first upstream", (t) => {
  const mirrors = (mirror: ClientMirror, version?: readonly number[]) => {
    const [text = ""] = Object.values(files("docker", mirror, { version }));
    return (JSON.parse(text) as Record<string, string[]>)["registry-mirrors"];
  };
  t.strictSame(mirrors(two), ["http://mirror.example.com:5000/hub"], "the path before /v2/");
  t.throws(
    () => mirrors(two, [20, 10]),
    /docker cannot tell the mirror/,
    "which docker before 24.0.8 refuses",
  );
  t.strictSame(mirrors(two, [24, 0, 8]), ["http://mirror.example.com:5000/hub"]);
  const named = upstreamsYaml(
    "name: corp, url: https://registry.example.com",
    "name: hub, url: https://registry-1.docker.io, hosts: [hub.example.com]",
  );
  const byHost = mirrorOfConfig(configOf({ yaml: named }), new URL("http://mirror.example.com:5000"));
  t.strictSame(mirrors(byHost, [20, 10]), ["http://hub.example.com:5000"], "a name of the mirror's own");
  t.end();
});

t.test("docker: no mirror list where it would not be used", (t) => {
  const other = upstreamsYaml(
    "name: corp, url: https://registry.example.com, namespaces: [registry.example.com]",
  );
  const mirror = (address: string) => mirrorOfConfig(configOf({ yaml: other }), new URL(address));
  const [text = ""] = Object.values(files("docker", mirror("http://mirror.example.com:5000")));
  t.strictSame(JSON.parse(text), { "insecure-registries": ["mirror.example.com:5000"] });
  t.throws(
    () => files("docker", mirror("https://mirror.example.com")),
    /nothing to write .* Docker Hub's names only/,
  );
  const asking = {
    ...secure,
    registries: secure.registries.map((each) => ({ ...each, asksForLogin: true })),
  };
  t.strictSame(
    files("docker", asking),
    { "/etc/docker/certs.d/mirror.example.com/ca.crt": ca },
    "for pulls by name",
  );
  t.throws(
    () => files("docker", { ...asking, ca: undefined }),
    /nothing to write into .* its login of Docker Hub and no other: docker login mirror\.example\.com/,
  );
  t.end();
});

t.test("containerd", (t) => {
  const at = "/etc/containerd/certs.d";
  t.strictSame(files("containerd", plain), {
    [`${at}/registry.example.com/hosts.toml`]: lines(
      'server = "https://registry.example.com"',
      "",
      '[host."http://mirror.example.com:5000"]',
      '  capabilities = ["pull", "resolve"]',
      '  dial_timeout = "1s"',
    ),
  });
  t.strictSame(files("containerd", two), {
    [`${at}/registry.example.com/hosts.toml`]: files("containerd", plain)[
      `${at}/registry.example.com/hosts.toml`
    ],
    [`${at}/docker.io/hosts.toml`]: lines(
      'server = "https://registry-1.docker.io"',
      "",
      '[host."http://mirror.example.com:5000"]',
      '  capabilities = ["pull", "resolve"]',
      '  dial_timeout = "1s"',
    ),
  });
  t.strictSame(files("containerd", secure, { fallback: false, version: [2, 2], login }), {
    [`${at}/registry.example.com/hosts.toml`]: lines(
      'server = "https://mirror.example.com"',
      'capabilities = ["pull", "resolve", "referrers"]',
      'dial_timeout = "1s"',
      `ca = "${at}/mirror.example.com/ca.crt"`,
      "[header]",
      '  Authorization = "Basic bm9kZTpodW50ZXIy"',
      "[host]",
    ),
    [`${at}/mirror.example.com/ca.crt`]: ca,
  });
  t.end();
});

t.test("referrers only for versions that are known to take it", (t) => {
  const has = (client: ClientName, version?: readonly number[]) =>
    Object.values(files(client, plain, { version }))
      .join("")
      .includes("referrers");
  for (const client of ["containerd", "nerdctl", "kind", "minikube"] as const) {
    t.notOk(has(client), client);
    t.notOk(has(client, [2, 1, 9]), client);
    t.notOk(has(client, [1, 7, 24]), client);
    t.ok(has(client, [2, 2]), client);
    t.ok(has(client, [3]), client);
  }
  t.notOk(has("docker-certs.d"));
  t.notOk(has("docker-certs.d", [28, 5, 2]));
  t.ok(has("docker-certs.d", [29]));
  t.end();
});

t.test("containerd's config.toml by its version", (t) => {
  const note = (version?: readonly number[]) =>
    clientSetup("containerd", plain, { fallback: true, version }).notes.join("\n");
  t.match(note([1, 7]), /io\.containerd\.grpc\.v1\.cri/);
  t.notMatch(note([1, 7]), /io\.containerd\.cri\.v1\.images/);
  t.match(note([2, 1]), /io\.containerd\.cri\.v1\.images/);
  t.notMatch(note([2, 1]), /io\.containerd\.grpc\.v1\.cri/);
  t.match(note(), /io\.containerd\.cri\.v1\.images.*io\.containerd\.grpc\.v1\.cri/s);
  t.end();
});

t.test("docker-certs.d and nerdctl: the same file elsewhere", (t) => {
  const [hosts] = Object.values(files("containerd", plain));
  t.strictSame(files("docker-certs.d", plain), {
    "/etc/docker/certs.d/registry.example.com/hosts.toml": hosts,
  });
  t.strictSame(files("nerdctl", plain), files("containerd", plain));
  t.match(
    files("docker-certs.d", secure)["/etc/docker/certs.d/registry.example.com/hosts.toml"],
    /ca = "\/etc\/docker\/certs\.d\/mirror\.example\.com\/ca\.crt"/,
  );
  t.equal(files("docker-certs.d", secure)["/etc/docker/certs.d/mirror.example.com/ca.crt"], ca);
  t.end();
});

t.test("podman, buildah, CRI-O: one file", (t) => {
  const path = "/etc/containers/registries.conf.d/50-entrepot.conf";
  t.strictSame(files("podman", two), {
    [path]: lines(
      "[[registry]]",
      'location = "registry.example.com"',
      "",
      "[[registry.mirror]]",
      'location = "mirror.example.com:5000"',
      "insecure = true",
      "",
      "[[registry]]",
      'location = "docker.io"',
      "",
      "[[registry.mirror]]",
      'location = "mirror.example.com:5000/hub"',
      "insecure = true",
      "",
      "[[registry]]",
      'location = "mirror.example.com:5000"',
      "insecure = true",
    ),
  });
  t.strictSame(files("podman", secure, { fallback: false }), {
    [path]: lines("[[registry]]", 'prefix = "registry.example.com"', 'location = "mirror.example.com"'),
    "/etc/containers/certs.d/mirror.example.com/ca.crt": ca,
  });
  for (const client of ["buildah", "crio"] as const) t.strictSame(files(client, two), files("podman", two));
  t.end();
});

t.test("BuildKit", (t) => {
  t.strictSame(files("buildkit", two), {
    "/etc/buildkit/buildkitd.toml": lines(
      '[registry."registry.example.com"]',
      '  mirrors = ["mirror.example.com:5000"]',
      "",
      '[registry."docker.io"]',
      '  mirrors = ["mirror.example.com:5000"]',
      "",
      '[registry."mirror.example.com:5000"]',
      "  http = true",
    ),
  });
  t.strictSame(files("buildkit", secure), {
    "/etc/buildkit/buildkitd.toml": lines(
      '[registry."registry.example.com"]',
      '  mirrors = ["mirror.example.com"]',
      "",
      '[registry."mirror.example.com"]',
      '  ca = ["/etc/buildkit/mirror.example.com-ca.crt"]',
    ),
    "/etc/buildkit/mirror.example.com-ca.crt": ca,
  });
  t.end();
});

t.test("k3s and RKE2", (t) => {
  for (const client of ["k3s", "rke2"] as const) {
    const at = `/etc/rancher/${client}`;
    t.strictSame(files(client, plain), {
      [`${at}/registries.yaml`]: lines(
        "mirrors:",
        "  registry.example.com:",
        "    endpoint:",
        "      - http://mirror.example.com:5000",
      ),
    });
    const all = files(client, secure, { fallback: false, login });
    t.strictSame(parse(all[`${at}/registries.yaml`] ?? ""), {
      mirrors: { "registry.example.com": { endpoint: ["https://mirror.example.com"] } },
      configs: {
        "mirror.example.com": {
          auth: { username: "node", password: "hunter2" },
          tls: { ca_file: `${at}/entrepot-ca.crt` },
        },
      },
    });
    t.equal(all[`${at}/entrepot-ca.crt`], ca);
    t.strictSame(parse(all[`${at}/config.yaml.d/50-entrepot.yaml`] ?? ""), {
      "disable-default-registry-endpoint": true,
    });
  }
  const below = mirrorAt(new URL("http://mirror.example.com:5000/hub"), ["docker.io"]);
  const [text = ""] = Object.values(files("k3s", below));
  t.match(text, /- http:\/\/mirror\.example\.com:5000\/hub\/v2\n/, "a path is taken as it is");
  t.end();
});

t.test("Talos", (t) => {
  t.strictSame(files("talos", plain), {
    "entrepot-talos.yaml": lines(
      "machine:",
      "  registries:",
      "    mirrors:",
      "      registry.example.com:",
      "        endpoints:",
      "          - http://mirror.example.com:5000",
    ),
  });
  const [text = ""] = Object.values(files("talos", secure, { fallback: false, login }));
  t.strictSame(parse(text), {
    machine: {
      registries: {
        mirrors: {
          "registry.example.com": { endpoints: ["https://mirror.example.com"], skipFallback: true },
        },
        config: {
          "mirror.example.com": {
            auth: { username: "node", password: "hunter2" },
            tls: { ca: Buffer.from(ca).toString("base64") },
          },
        },
      },
    },
  });
  t.end();
});

t.test("kaniko", (t) => {
  t.strictSame(files("kaniko", two), {
    "entrepot-kaniko.yaml": lines(
      "args:",
      "  - --registry-map=registry.example.com=mirror.example.com:5000",
      "  - --registry-map=index.docker.io=mirror.example.com:5000/hub",
      "  - --insecure-registry=mirror.example.com:5000",
    ),
  });
  const all = files("kaniko", secure, { fallback: false, login });
  t.strictSame(parse(all["entrepot-kaniko.yaml"] ?? ""), {
    args: [
      "--registry-map=registry.example.com=mirror.example.com",
      "--skip-default-registry-fallback",
      "--registry-certificate=mirror.example.com=/kaniko/entrepot-ca.crt",
    ],
  });
  t.strictSame(JSON.parse(all["/kaniko/.docker/config.json"] ?? ""), {
    auths: { "mirror.example.com": { auth: "bm9kZTpodW50ZXIy" } },
  });
  t.end();
});

t.test("kind and minikube: the nodes have the files where containerd looks", (t) => {
  const [hosts] = Object.values(files("containerd", plain));
  const all = files("kind", plain);
  t.equal(all["/etc/kind/certs.d/registry.example.com/hosts.toml"], hosts);
  t.strictSame(parse(all["/etc/kind/entrepot.yaml"] ?? ""), {
    kind: "Cluster",
    apiVersion: "kind.x-k8s.io/v1alpha4",
    nodes: [
      {
        role: "control-plane",
        extraMounts: [
          { hostPath: "/etc/kind/certs.d", containerPath: "/etc/containerd/certs.d", readOnly: true },
        ],
      },
    ],
  });
  t.match(
    files("kind", secure)["/etc/kind/certs.d/registry.example.com/hosts.toml"],
    /ca = "\/etc\/containerd\/certs\.d\/mirror\.example\.com\/ca\.crt"/,
    "as the node sees it",
  );
  t.strictSame(files("minikube", plain), {
    "~/.minikube/files/etc/containerd/certs.d/registry.example.com/hosts.toml": hosts,
  });
  const both = mirrorAt(new URL("http://mirror.example.com:5000"), ["registry.example.com", "docker.io"]);
  t.equal(Object.keys(files("minikube", both)).length, 2, "also where docker could have no mirror");
  const loopback = mirrorAt(new URL("http://127.0.0.1:5000"), ["docker.io"]);
  for (const client of ["kind", "minikube"] as const)
    t.match(
      clientSetup(client, loopback, { fallback: true }).notes.join("\n"),
      /127\.0\.0\.1 is the node itself/,
    );
  t.end();
});

t.test("--no-fallback: no client is given the registry, and those that ask it all the same say so", (t) => {
  for (const client of clientNames) {
    if (client === "docker" || client === "buildkit") {
      t.throws(() => files(client, plain, { fallback: false }), /asks .* itself when .* fail/, client);
      continue;
    }
    const text = Object.values(files(client, plain, { fallback: false })).join("");
    t.notMatch(text, /https:\/\/registry\.example\.com|location = "registry\.example\.com"/, client);
    t.match(text, /mirror\.example\.com:5000/, client);
  }
  t.end();
});

t.test("a secret is in no file unless it is asked for, and then in files for their owner alone", (t) => {
  const asking = {
    ...secure,
    registries: secure.registries.map((each) => ({ ...each, asksForLogin: true })),
  };
  for (const client of clientNames) {
    if (client === "docker") continue;
    const without = clientSetup(client, asking, { fallback: true });
    t.match(without.notes.join("\n"), /the mirror asks for a login: /, `${client} says where it goes`);
    t.ok(without.files.every(({ secret }) => secret === undefined));
    const setup = clientSetup(client, asking, { fallback: true, login });
    const secret = setup.files.filter(({ text }) => /hunter2|bm9kZTpodW50ZXIy/.test(text));
    t.equal(secret.length, clientsWithLogin.includes(client) ? 1 : 0, client);
    t.ok(secret.every((file) => file.secret === true));
    t.notMatch(setup.notes.join("\n") + setup.restart, /hunter2|bm9kZTpodW50ZXIy/);
  }
  t.end();
});

t.test("where an authority is not given, or certificates are wanted, it is said", (t) => {
  const unknown = {
    ...mirrorAt(new URL("https://mirror.example.com"), ["registry.example.com"]),
    wantsCertificate: true,
  };
  for (const client of clientNames) {
    const notes = clientSetup(client, unknown, { fallback: true }).notes.join("\n");
    t.match(notes, /--ca FILE/, client);
    t.match(notes, /refuses clients that show no certificate/, client);
    t.notMatch(clientSetup(client, plain, { fallback: true }).notes.join("\n"), /--ca|certificate/, client);
  }
  t.end();
});
