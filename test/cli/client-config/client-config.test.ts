import { chmodSync, readFileSync, statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import t from "tap";
import { clientNames } from "../../../src/client-config/clients.ts";
import { Authority, withoutOpenssl } from "../../fixtures/certificates.ts";
import { commandLine, type Given } from "../../fixtures/command-line.ts";

const mirror = ["--mirror", "http://mirror.example.com:5000"];
const registry = ["--registry", "registry.example.com"];

async function run(argv: readonly string[], given: Given = {}) {
  const line = commandLine(["client-config", ...argv], given);
  const code = await line.exit;
  return { code, out: line.out(), err: line.err() };
}

t.test("one file is the whole standard output; where it goes is said beside it", async (t) => {
  const { code, out, err } = await run(["podman", ...mirror, ...registry]);
  t.equal(code, 0);
  t.match(out, /^\[\[registry\]\]\nlocation = "registry\.example\.com"\n/);
  t.match(
    err,
    /^podman:\n {2}file: \/etc\/containers\/registries\.conf\.d\/50-entrepot\.conf\n {2}then: nothing/,
  );
});

t.test("of several files each stands below its path", async (t) => {
  const { code, out } = await run(["containerd", ...mirror, ...registry, "--registry", "docker.io"]);
  t.equal(code, 0);
  const heads = [...out.matchAll(/^==> (.*) <==$/gm)].map(([, path]) => path);
  t.strictSame(heads, [
    "/etc/containerd/certs.d/registry.example.com/hosts.toml",
    "/etc/containerd/certs.d/docker.io/hosts.toml",
  ]);
});

const files = {
  "mirror.yaml": `
opsPage: { mirror: "http://mirror.example.com:5000" }
upstreams:
  - { name: corp, url: "https://registry.example.com" }
  - { name: hub, url: "https://registry-1.docker.io" }
`,
};

t.test("by the configuration: all its upstreams, or those that are named by host or name", async (t) => {
  const all = await run(["containerd", "--config", "mirror.yaml"], { files });
  t.equal(all.code, 0);
  t.match(
    all.out,
    /\[host\."http:\/\/mirror\.example\.com:5000\/corp"\]/,
    "its host is no namespace, so by its name",
  );
  t.match(all.out, /\[host\."http:\/\/mirror\.example\.com:5000"\]/, "by its namespace");
  for (const name of ["docker.io", "hub"]) {
    const one = await run(["containerd", "--registry", name], {
      files,
      env: { ENTREPOT_CONFIG: "mirror.yaml" },
    });
    t.match(one.out, /^server = "https:\/\/registry-1\.docker\.io"\n/);
  }
  const none = await run(["containerd", "-c", "mirror.yaml", "--registry", "quay.io"], { files });
  t.equal(none.code, 2);
  t.equal(
    none.err,
    'entrepot: --registry: found "quay.io", expected one of the configuration: registry.example.com (corp), docker.io (hub)\n',
  );
});

t.test(
  "how clients reach the mirror: --mirror, else the configuration, else it is guessed and said",
  async (t) => {
    const env = { ENTREPOT_UPSTREAM_URL: "https://registry.example.com", ENTREPOT_NODE_NAME: "node-1" };
    const guessed = await run(["podman"], { env });
    t.match(guessed.out, /location = "node-1:5000"/);
    t.match(
      guessed.err,
      /^entrepot: clients are told to reach the mirror at http:\/\/node-1:5000: say --mirror/,
    );
    const said = await run(["podman", "--mirror", "http://10.0.0.7:5000"], { env });
    t.match(said.out, /location = "10\.0\.0\.7:5000"/);
    t.notMatch(said.err, /clients are told/);
  },
);

t.test("docker alone needs no registry: its mirrors are for Docker Hub's names", async (t) => {
  const { code, out } = await run(["docker", ...mirror]);
  t.equal(code, 0);
  t.strictSame(JSON.parse(out), {
    "registry-mirrors": ["http://mirror.example.com:5000"],
    "insecure-registries": ["mirror.example.com:5000"],
  });
});

t.test("a configuration that is wrong is told as check tells it", async (t) => {
  const { code, err, out } = await run(["podman", ...mirror], {
    env: { ENTREPOT_UPSTREAM_URL: "registry" },
  });
  t.equal(code, 2);
  t.equal(out, "");
  t.match(err, /^entrepot: ENTREPOT_UPSTREAM_URL: found "registry"/);
});

t.test("wrong command lines", async (t) => {
  const cases: readonly [argv: readonly string[], err: RegExp][] = [
    [
      ["dokcer", ...mirror],
      /there is no client "dokcer"; did you mean docker\?\nclients: docker, docker-certs\.d, /,
    ],
    [["nomad", ...mirror], /there is no client "nomad"\nclients: docker, /],
    [["podman"], /where is the mirror\? Name its configuration .* --mirror http:/],
    [["podman", ...mirror], /for which registry's names\? Say --registry/],
    [["docker", "podman", ...mirror], /for which registry's names\?/],
    [
      ["docker", "--mirror", "mirror.example.com:5000"],
      /--mirror: found "mirror\.example\.com:5000", expected an http/,
    ],
    [["docker", "--mirror", "http://u:p@mirror.example.com"], /without credentials/],
    [
      ["podman", ...mirror, "--registry", "https://registry.example.com"],
      /--registry: found "https:.*expected the host/,
    ],
    [
      ["k3s", "--mirror", "http://mirror.example.com:5000/hub", "--registry", "docker.io", ...registry],
      /--mirror: found "http:\/\/mirror\.example\.com:5000\/hub", and its path stands for one registry/,
    ],
    [
      ["docker", ...mirror, "--client-version", "new"],
      /--client-version: found "new", expected a version like 2\.2/,
    ],
    [
      ["docker-certs.d", "containerd", ...mirror, ...registry, "--client-version", "29"],
      /--client-version is that of one client/,
    ],
    [["docker", ...mirror, "--no-fallback"], /docker asks Docker Hub itself.*docker-certs\.d --no-fallback/],
    [
      ["buildkit", ...mirror, ...registry, "--no-fallback"],
      /BuildKit asks the registry itself.*FROM mirror\.example\.com/,
    ],
    [["docker", ...mirror, "--ca", "ca.pem"], /--ca: found "ca\.pem", which cannot be read \(no such file\)/],
    [["containerd", ...mirror, ...registry, "--username", "a"], /--username and --password-file go together/],
    [
      ["podman", ...mirror, ...registry, "--username", "a", "--password-file", "b"],
      /no file of podman holds a login/,
    ],
    [
      ["containerd", ...mirror, ...registry, "--username", "a:b", "--password-file", "b"],
      /a name without a colon/,
    ],
    [
      ["containerd", ...mirror, ...registry, "--username", "a", "--password-file", "b"],
      /"b", which cannot be read/,
    ],
  ];
  for (const [argv, expected] of cases) {
    const { code, out, err } = await run(argv);
    t.equal(code, 2, argv.join(" "));
    t.equal(out, "");
    t.match(err, expected);
    t.match(err, /^(?:entrepot: |[\w.-]+:\n {2}no file: ).*\n$/s);
  }
  const empty = await run(["docker", ...mirror, "--ca", "ca.pem"], { files: { "ca.pem": "none" } });
  t.match(empty.err, /--ca: "ca\.pem" holds no certificate in PEM/);
});

t.test("without a configuration: of several registries it says what the mirror must have", async (t) => {
  const several = await run(["containerd", ...mirror, ...registry, "--registry", "docker.io"]);
  t.equal(several.code, 0);
  t.match(
    several.err,
    /^entrepot: the mirror must have namespaces for each of registry\.example\.com, docker\.io: /,
  );
  const below = ["--mirror", "http://mirror.example.com:5000/corp"];
  for (const argv of [
    [...mirror, ...registry],
    [...below, ...registry],
    [...below, ...registry, ...registry],
  ]) {
    const one = await run(["containerd", ...argv]);
    t.equal(one.code, 0);
    t.notMatch(one.err, /namespaces|same host/, argv.join(" "));
  }
});

t.test("a client that there is no file for keeps none from the others", async (t) => {
  const yaml =
    'opsPage: { mirror: "https://mirror.example.com" }\nupstream: { url: "https://registry.example.com", namespaces: [registry.example.com] }\n';
  const directory = t.testdir();
  const argv = ["docker", "containerd", "podman", "-c", "mirror.yaml"];
  const given = { files: { "mirror.yaml": yaml } };
  const written = await run([...argv, "--output", directory], given);
  t.equal(written.code, 1);
  const paths = [
    "etc/containerd/certs.d/registry.example.com/hosts.toml",
    "etc/containers/registries.conf.d/50-entrepot.conf",
  ];
  t.equal(written.out, paths.map((path) => `${join(directory, path)}\n`).join(""));
  t.match(
    written.err,
    /^docker:\n {2}no file: there is nothing to write into \/etc\/docker\/daemon\.json: .*\ncontainerd:\n {2}file: /,
  );
  const printed = await run([...argv, "--no-fallback"], given);
  t.equal(printed.code, 1);
  t.match(printed.out, /^==> \/etc\/containerd\/certs\.d\/.*\n==> \/etc\/containers\//s);
  t.match(printed.err, /^docker:\n {2}no file: docker asks Docker Hub itself/);
  const none = await run(["docker", "buildkit", "-c", "mirror.yaml", "--no-fallback"], given);
  t.equal(none.code, 2, "nothing is left");
  t.equal(none.out, "");
  t.match(none.err, /^docker:\n {2}no file: docker asks .*\nbuildkit:\n {2}no file: BuildKit asks /);
});

t.test("no client at all is told by the parser of the command line", async (t) => {
  const { code, err } = await run([]);
  t.equal(code, 2);
  t.match(err, /missing required argument 'clients'/);
});

t.test("an authority that nobody else has signed is taken from the mirror's own certificate", async (t) => {
  const missing = withoutOpenssl();
  if (missing !== false) return t.plan(0, missing);
  const authority = new Authority(t.testdir(), "ca");
  const { cert, key } = authority.issue("mirror", "DNS:mirror.example.com");
  const yaml =
    "opsPage: {mirror: https://mirror.example.com}\nlistenTls: {certFile: crt, keyFile: key}\nupstream: {url: https://registry.example.com}\n";
  const given = (crt: string) => ({
    files: { "mirror.yaml": yaml, crt, key, "ca.pem": `${authority.cert}${key}` },
  });
  const argv = ["docker", "-c", "mirror.yaml"];
  const alone = await run(argv, given(cert));
  t.notMatch(alone.out, /BEGIN CERTIFICATE/, "signed by one that clients may know");
  t.match(alone.err, /run it again with --ca FILE/);
  const chain = await run(argv, given(cert + authority.cert));
  t.match(
    chain.out,
    /==> \/etc\/docker\/certs\.d\/mirror\.example\.com\/ca\.crt <==\n-----BEGIN CERTIFICATE/,
  );
  const said = await run([...argv, "--ca", "ca.pem"], given(cert));
  t.ok(said.out.includes(authority.cert.trim()));
  t.notMatch(said.out, /PRIVATE KEY/, "and nothing else that is in that file");
});

t.test("--output writes the files in their places, and again changes nothing", async (t) => {
  const directory = t.testdir();
  const argv = [
    "docker",
    "containerd",
    "nerdctl",
    "podman",
    "minikube",
    ...mirror,
    ...registry,
    "--output",
    directory,
  ];
  const { code, out } = await run(argv);
  t.equal(code, 0);
  const paths = [
    "etc/docker/daemon.json",
    "etc/containerd/certs.d/registry.example.com/hosts.toml",
    "etc/containers/registries.conf.d/50-entrepot.conf",
    ".minikube/files/etc/containerd/certs.d/registry.example.com/hosts.toml",
  ].map((path) => join(directory, path));
  t.equal(out, `${paths.join("\n")}\n`);
  const podman = await run(["podman", ...mirror, ...registry]);
  t.equal(readFileSync(paths[2] as string, "utf8"), podman.out);
  t.equal((await run(argv)).code, 0);
});

t.test("--output: what is there and says something else stays, and nothing is written", async (t) => {
  const directory = t.testdir();
  const daemon = join(directory, "etc/docker/daemon.json");
  await mkdir(dirname(daemon), { recursive: true });
  await writeFile(daemon, '{"debug": true}');
  const { code, out, err } = await run(["podman", "docker", ...mirror, ...registry, "--output", directory]);
  t.equal(code, 1);
  t.equal(out, "");
  t.match(err, /daemon\.json is there already and says something else: put this into it.*registry-mirrors/s);
  t.equal(readFileSync(daemon, "utf8"), '{"debug": true}');
  t.throws(() => statSync(join(directory, "etc/containers")), { code: "ENOENT" });
});

t.test("--output: a place that cannot be written", async (t) => {
  const directory = t.testdir({ file: "" });
  const { code, err } = await run(["docker", ...mirror, "--output", join(directory, "file")]);
  t.equal(code, 1);
  t.match(err, /--output: .* cannot be written \(part of the path is not a directory\)/);
});

t.test("a login goes into the file when it is asked for, which nobody else may read", async (t) => {
  const directory = t.testdir();
  const argv = ["containerd", ...mirror, ...registry, "--username", "node", "--password-file", "secret"];
  const given = { files: { secret: "hunter2\n" } };
  const printed = await run(argv, given);
  t.match(printed.out, /Authorization = "Basic bm9kZTpodW50ZXIy"/);
  t.notMatch(printed.err, /bm9kZTpodW50ZXIy|hunter2/);
  const { code } = await run([...argv, "--output", directory], given);
  t.equal(code, 0);
  const file = join(directory, "etc/containerd/certs.d/registry.example.com/hosts.toml");
  t.equal(statSync(file).mode & 0o777, 0o600);
  chmodSync(file, 0o644);
  t.equal((await run([...argv, "--output", directory], given)).code, 0);
  t.equal(statSync(file).mode & 0o777, 0o600, "one that was there already, too");
  const other = await run([...argv, "--output", directory], { files: { secret: "hunter3\n" } });
  t.equal(other.code, 1, "a file with another login stays");
  t.notMatch(other.err, /Authorization/);
});

t.test("every client has a file, and the help names it", async (t) => {
  const help = commandLine(["client-config", "--help"]);
  t.equal(await help.exit, 0);
  for (const client of clientNames) {
    const { code, out } = await run([client, ...mirror, ...registry]);
    t.equal(code, 0, client);
    t.ok(out.endsWith("\n"));
    t.ok(help.out().includes(client), client);
  }
});
