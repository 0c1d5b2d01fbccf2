// What `entrepot client-config` writes is used as it is, in its place below /etc, by every client that Debian has. None of them
// reaches a registry past the mirror (no-internet.ts): a pull that succeeds came from it.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { stringify } from "yaml";
import { criSettings } from "../../src/client-config/containerd.ts";
import { userLine } from "../fixtures/access.ts";
import { Authority } from "../fixtures/certificates.ts";
import { run } from "./fixtures/child.ts";
import { type Containerd, containerdPrograms, startContainerd } from "./fixtures/containerd.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { type FarRegistry, farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { greeting } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { newerClients } from "./fixtures/newer-clients.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { makePodmanOf, podmanPrograms } from "./fixtures/podman.ts";
import { installed, type Programs } from "./fixtures/programs.ts";
import { requires } from "./fixtures/requires.ts";
import { type Cleanup, workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(590_000);

const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

const app = "registry.example.com/made/app:1";
const busybox = "docker.io/library/busybox:1";
const node = { username: "node", password: "node-pw" };

interface Place {
  readonly mirror: Mirror;
  /** `host:port` as clients know it. */
  readonly host: string;
  /** A new directory with what the command has written for these clients. */
  files(t: Cleanup, ...args: readonly string[]): Promise<string>;
}

/** A mirror of Docker Hub's names, and of another registry's, which clients name in each of the ways there are. */
async function startPlace(
  t: Cleanup,
  { front }: FarRegistry,
  more: object = {},
  host = "127.0.0.1",
): Promise<Place> {
  const directory = await workDirectory(t);
  const config = join(directory, "mirror.yaml");
  const listen = `${host}:${await freePort()}`;
  const { url, username, password } = front;
  const far = { url, username, password };
  const settings = {
    opsPage: { mirror: `${"listenTls" in more ? "https" : "http"}://${listen}` },
    upstreams: [
      { name: "hub", ...far, namespaces: ["docker.io"], library: true },
      { name: "corp", ...far, namespaces: ["registry.example.com"], component: "corp" },
    ],
    ...more,
  };
  await writeFile(config, stringify(settings));
  const alone = { ENTREPOT_UPSTREAM_URL: "", ENTREPOT_UPSTREAM_USERNAME: "", ENTREPOT_UPSTREAM_PASSWORD: "" };
  const mirror = await startMirror(t, front, {
    config,
    listen: listen.replace("localhost", "127.0.0.1"),
    env: alone,
  });
  return {
    mirror,
    host: listen,
    async files(t, ...args) {
      const output = await workDirectory(t);
      await mkdir(join(output, "etc"));
      const command = [program, "client-config", ...args, "--config", config, "--output", output];
      await run("env", ["-u", "NODE_OPTIONS", process.execPath, ...command]);
      return output;
    },
  };
}

/** The same over TLS, by an authority that nobody knows, for whoever knows the password. */
async function startGuarded(
  t: Cleanup,
  far: FarRegistry,
): Promise<Place & { readonly passwordFile: string }> {
  const directory = await workDirectory(t);
  const authority = new Authority(directory, "authority");
  const { cert, key } = authority.issue("mirror", "DNS:localhost,IP:127.0.0.1");
  const [certFile, keyFile, htpasswdFile, passwordFile] = ["crt", "key", "users", "password"].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  await writeFile(certFile, cert + authority.cert);
  await writeFile(keyFile, key);
  await writeFile(htpasswdFile, userLine(node.username, node.password));
  await writeFile(passwordFile, `${node.password}\n`);
  const more = { listenTls: { certFile, keyFile }, access: { mode: "htpasswd", htpasswdFile } };
  return { ...(await startPlace(t, far, more, "localhost")), passwordFile };
}

async function runs(t: Test, containerd: Containerd, image: string): Promise<void> {
  await containerd.forget();
  await containerd.pull(image);
  t.equal((await containerd.ctr("run", "--rm", image, `greet-${process.pid}`)).trim(), greeting, image);
}

/** Everything that one release of the clients can show. `containerd`: its version. */
async function pulls(t: Test, far: FarRegistry, programs: Programs, containerdVersion: readonly number[]) {
  const place = await startPlace(t, far);
  const guarded = await startGuarded(t, far);
  const login = ["--username", node.username, "--password-file", guarded.passwordFile];
  const asked = async (at: Place) => await at.mirror.metric("entrepot_requests_total");
  const throughMirror = async (t: Test, at: Place, pull: () => Promise<unknown>): Promise<void> => {
    const before = at === guarded ? 0 : await asked(at);
    await pull();
    if (at !== guarded) t.ok((await asked(at)) > before, "the mirror was asked");
  };

  await t.test("docker: daemon.json", async (t) => {
    const daemon = await startDockerd(t, undefined, {
      programs: programs.over(await place.files(t, "docker")),
    });
    await throughMirror(t, place, () => daemon.docker("pull", "busybox:1"));
    t.equal(await daemon.greet("busybox:1"), greeting, "Docker Hub's name");
    await daemon.docker("pull", `${place.host}/corp/made/app:1`);
  });

  // docker takes any certificate of what is on this machine: whether it reads the authority is not seen here.
  await t.test("docker: the mirror's authority, and a login, by the mirror's name", async (t) => {
    const daemon = await startDockerd(t, undefined, {
      programs: programs.over(await guarded.files(t, "docker")),
    });
    const image = `${guarded.host}/corp/made/app:1`;
    await t.rejects(daemon.docker("pull", image));
    await daemon.docker("login", "--username", node.username, "--password", node.password, guarded.host);
    await daemon.docker("pull", image);
  });

  for (const [title, at, args] of [
    ["plain", place, []],
    ["without fallback", place, ["--no-fallback"]],
    ["TLS and a login", guarded, login],
    ["TLS and a login, without fallback", guarded, [...login, "--no-fallback"]],
  ] as const)
    await t.test(`containerd, ctr and Kubernetes: ${title}`, async (t) => {
      const over = programs.over(await at.files(t, "containerd", ...args));
      const cri = criSettings(containerdVersion);
      const containerd = await startContainerd(t, { programs: over, cri });
      for (const image of [app, busybox]) await throughMirror(t, at, () => runs(t, containerd, image));
      for (const image of [app, busybox]) await throughMirror(t, at, () => containerd.criPull(image));
    });

  await t.test("podman, buildah and skopeo: registries.conf", async (t) => {
    for (const args of [[], ["--no-fallback"]]) {
      const over = programs.over(await place.files(t, "podman", ...args));
      const podman = await makePodmanOf(t, over);
      for (const image of [app, busybox, `${place.host}/corp/made/app:1`]) {
        await podman.forget();
        await throughMirror(t, place, () => podman.podman("pull", image));
        t.equal(await podman.greet(image), greeting, image);
      }
    }
    const buildah = programs.over(await place.files(t, "buildah"));
    const storage = await workDirectory(t);
    const own = [
      "--storage-driver",
      "vfs",
      "--root",
      join(storage, "root"),
      "--runroot",
      join(storage, "run"),
    ];
    for (const image of [app, busybox])
      await throughMirror(t, place, () =>
        buildah.run("buildah", [...own, "pull", image], { env: noInternet }),
      );
    const copy = await workDirectory(t);
    for (const [at, image] of [app, busybox].entries()) {
      const target = `dir:${join(copy, `${at}`)}`;
      const skopeo = () =>
        buildah.run("skopeo", ["copy", "--quiet", `docker://${image}`, target], { env: noInternet });
      await throughMirror(t, place, skopeo);
    }
  });

  await t.test("podman: TLS and a login", async (t) => {
    const podman = await makePodmanOf(t, programs.over(await guarded.files(t, "podman")));
    await t.rejects(podman.podman("pull", app));
    await podman.podman("login", "-u", node.username, "-p", node.password, guarded.host);
    for (const image of [app, busybox]) {
      await podman.podman("pull", image);
      t.equal(await podman.greet(image), greeting, image);
    }
  });

  await t.test("a capability that this containerd does not know costs it the whole file", async (t) => {
    const takes = containerdVersion[0] === 2 && (containerdVersion[1] ?? 0) >= 2;
    const written = await place.files(t, "containerd", "--client-version", "2.2");
    const containerd = await startContainerd(t, {
      programs: programs.over(written),
      cri: criSettings(containerdVersion),
    });
    if (takes) await containerd.pull(app);
    else await t.rejects(containerd.pull(app), "so that it is written only for those that are known to");
  });

  return { place, guarded, login };
}

/** Whether the clients go past a mirror that is gone, and what they then say of the registry that cannot be reached. */
async function goneMirror(t: Test, { place }: { readonly place: Place }, programs: Programs): Promise<void> {
  await place.mirror.kill();
  const past = /127\.0\.0\.1:9\b/;
  for (const fallback of [true, false]) {
    const args = fallback ? [] : ["--no-fallback"];
    const over = programs.over(await place.files(t, "containerd", "podman", ...args));
    const containerd = await startContainerd(t, { programs: over, cri: criSettings([1]) });
    const said = [
      await containerd.pull(app).then(String, String),
      (await over.attempt("skopeo", ["inspect", `docker://${app}`], { env: noInternet })).output,
    ];
    for (const text of said) {
      if (fallback) t.match(text, past, "the registry itself is asked");
      else t.notMatch(text, past, "nobody else is asked");
      t.match(text, fallback ? past : /refused/);
    }
  }
}

t.test("the clients of Debian 12", async (t) => {
  const programs = [...farRegistryPrograms, ...dockerPrograms, ...containerdPrograms, ...podmanPrograms];
  if (!requires(t, ...programs, "buildah", "unshare", "openssl")) return;
  const far = await startFarRegistry(t);
  const places = await pulls(t, far, installed, [1, 6]);
  await t.test("the mirror gone", async (t) => await goneMirror(t, places, installed));
});

t.test("newer clients", async (t) => {
  if (!requires(t, ...farRegistryPrograms, "root", "unshare", "iptables", "openssl")) return;
  const programs = await newerClients(t);
  if (programs === undefined) return;
  const far = await startFarRegistry(t);
  const { place, guarded, login } = await pulls(t, far, programs, [2, 1]);

  for (const [title, at, args] of [
    ["plain", place, []],
    ["without fallback", place, ["--no-fallback"]],
    ["TLS and a login", guarded, login],
  ] as const)
    await t.test(`docker-certs.d, with containerd's store: ${title}`, async (t) => {
      const over = programs.over(await at.files(t, "docker-certs.d", ...args));
      const daemon = await startDockerd(t, undefined, { programs: over, store: "containerd" });
      for (const image of [app, "busybox:1"]) {
        await daemon.docker("pull", image);
        t.equal(
          await daemon.greet(image),
          greeting,
          `${image}: no other registry than Docker Hub has mirrors otherwise`,
        );
      }
    });

  await t.test("kind takes its file: what it then misses is the image of a node", async (t) => {
    const files = await place.files(t, "kind");
    const daemon = await startDockerd(t, undefined, { programs });
    const create = ["create", "cluster", "--image", `${place.host}/made/no-node:1`, "--config"];
    const kind = async (file: string) =>
      (await programs.attempt("kind", [...create, file], { env: daemon.env })).output;
    t.match(
      await kind(join(files, "etc/kind/entrepot.yaml")),
      /Ensuring node image[\s\S]*failed to pull image/,
    );
    const wrong = join(files, "wrong.yaml");
    await writeFile(wrong, "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodez: []\n");
    t.notMatch(await kind(wrong), /Ensuring node image/, "it would have been told otherwise");
  });
});
