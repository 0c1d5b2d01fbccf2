// The newest clients there are beside Debian 12's, each with a mirror of its own before the same far registry.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { startContainerd } from "./fixtures/containerd.ts";
import { digestOf } from "./fixtures/content.ts";
import { type Dockerd, type DockerdOptions, startDockerd } from "./fixtures/dockerd.ts";
import { type FarRegistry, farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { greeting } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { newerClients } from "./fixtures/newer-clients.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { makePodmanOf } from "./fixtures/podman.ts";
import type { Programs } from "./fixtures/programs.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(590_000);

/** What a client does with one image. */
interface Client {
  /** Gets all of it, with nothing of it at hand, and uses it. */
  pull(): Promise<void>;
  /** Pushes what was pulled, or something of its own, to this repository and tag. */
  push(name: string): Promise<void>;
}

/** What a client is made with. */
interface Surroundings {
  readonly programs: Programs;
  readonly far: FarRegistry;
  /** `host:port` of its mirror. */
  readonly host: string;
}

interface Candidate {
  readonly name: string;
  /** Blobs that cross the link in the first pull, each once; left out: those of `made/app`. */
  readonly blobs?: ((far: FarRegistry) => readonly string[]) | "any";
  /** It asks for ranges far ahead, which are asked of the registry by themselves. */
  readonly inRanges?: true;
  readonly make: (t: Test, surroundings: Surroundings) => Promise<Client>;
}

function docker(options: DockerdOptions): Candidate["make"] {
  return async (t, { programs, host }) => {
    const daemon: Dockerd = await startDockerd(t, `http://${host}`, { programs, ...options });
    const image = `${host}/made/app:1`;
    return {
      async pull() {
        await daemon.forget();
        await daemon.docker("pull", image);
        t.equal(await daemon.greet(image), greeting, "it runs");
      },
      async push(name) {
        await daemon.docker("tag", image, `${host}/${name}`);
        await daemon.docker("push", `${host}/${name}`);
      },
    };
  };
}

function containerd(settings: readonly string[]): Candidate["make"] {
  return async (t, { programs, host }) => {
    const daemon = await startContainerd(t, { programs, settings });
    const registry = "registry.example.com";
    await daemon.mirror(registry, `http://${host}`);
    const image = `${registry}/made/app:1`;
    return {
      async pull() {
        await daemon.forget();
        await daemon.pull(image);
        t.equal((await daemon.ctr("run", "--rm", image, `greet-${process.pid}`)).trim(), greeting, "it runs");
      },
      async push(name) {
        await daemon.ctr("images", "push", "--plain-http", `${host}/${name}`, image);
      },
    };
  };
}

/** A client that signs: what it pulls is the signature it has pushed of `made/app`. */
async function signing(
  { programs, host, far: { images } }: Surroundings,
  { sign, verify }: Record<"sign" | "verify", (image: string) => Promise<string>>,
): Promise<Client> {
  const app = `${host}/made/app@${images.app.digest}`;
  await sign(app);
  return {
    async pull() {
      await verify(app);
    },
    async push(name) {
      const from = `${host}/library/busybox:1`;
      await programs.run("crane", ["copy", "--insecure", from, `${host}/${name}`], { env: noInternet });
      const image = `${host}/${name.split(":")[0]}@${images.busybox.digest}`;
      await sign(image);
      await verify(image);
    },
  };
}

const candidates: readonly Candidate[] = [
  { name: "docker 28", make: docker({}) },
  { name: "docker 28 with containerd's store", make: docker({ store: "containerd" }) },
  { name: "containerd 2", make: containerd([]) },
  {
    name: "containerd 2 that fetches a layer in several ranges",
    inRanges: true,
    make: containerd([
      '[plugins."io.containerd.transfer.v1.local"]',
      "  concurrent_layer_fetch_buffer = 4194304",
    ]),
  },
  {
    name: "podman 5",
    make: async (t, { programs, host }) => {
      const podman = await makePodmanOf(t, programs, host);
      const image = `${host}/made/app:1`;
      return {
        async pull() {
          await podman.forget();
          await podman.podman("pull", image);
          t.equal(await podman.greet(image), greeting, "it runs");
        },
        async push(name) {
          await podman.podman("push", image, `${host}/${name}`);
        },
      };
    },
  },
  {
    name: "skopeo 1.2x",
    blobs: ({ images: { app, multi } }) => [...app.blobs, ...multi.arm.blobs],
    make: async (t, { programs, host, far }) => {
      const directory = await workDirectory(t);
      const skopeo = (...args: readonly string[]) =>
        programs.run("skopeo", ["copy", "--quiet", "--all", "--preserve-digests", ...args], {
          env: noInternet,
        });
      let pulls = 0;
      return {
        async pull() {
          const copy = join(directory, `${++pulls}`);
          await skopeo("--src-tls-verify=false", `docker://${host}/made/multi:1`, `oci:${copy}:1`);
          await isWhole(t, copy, far);
        },
        async push(name) {
          await skopeo("--dest-tls-verify=false", `oci:${directory}/1:1`, `docker://${host}/${name}`);
        },
      };
    },
  },
  {
    name: "crane",
    blobs: ({ images: { app, multi } }) => [...app.blobs, ...multi.arm.blobs],
    make: async (t, { programs, host, far }) => {
      const directory = await workDirectory(t);
      const crane = (...args: readonly string[]) =>
        programs.run("crane", [...args, "--insecure"], { env: noInternet });
      let pulls = 0;
      return {
        async pull() {
          const copy = join(directory, `${++pulls}`);
          await crane("pull", "--format", "oci", `${host}/made/multi:1`, copy);
          await isWhole(t, copy, far);
        },
        async push(name) {
          await crane("push", "--index", join(directory, "1"), `${host}/${name}`);
        },
      };
    },
  },
  {
    name: "oras",
    blobs: ({ images: { artifact } }) => artifact.blobs,
    make: async (t, { programs, host, far }) => {
      const directory = await workDirectory(t);
      const oras = (...args: readonly string[]) => programs.run("oras", args, { env: noInternet });
      let pulls = 0;
      return {
        async pull() {
          const copy = join(directory, `${++pulls}`);
          await oras("copy", "--from-plain-http", "--to-oci-layout", `${host}/made/artifact:1`, `${copy}:1`);
          const names = await readdir(join(copy, "blobs/sha256"));
          const { digest, blobs } = far.images.artifact;
          t.same(names.toSorted(), [digest, ...blobs].map((each) => each.slice(7)).toSorted());
        },
        async push(name) {
          const image = `${host}/${name}`;
          await oras("copy", "--from-oci-layout", "--to-plain-http", `${directory}/1:1`, image);
          const file = join(directory, "statement.json");
          await writeFile(file, "{}");
          const attach = ["attach", "--plain-http", "--disable-path-validation"];
          await oras(...attach, "--artifact-type", "application/vnd.example.statement.v1", image, file);
          const found = await oras("discover", "--plain-http", "--format", "json", image);
          t.match(found, /application\/vnd\.example\.statement\.v1/, "what was attached is found");
        },
      };
    },
  },
  {
    name: "cosign",
    blobs: "any",
    make: async (t, surroundings) => {
      const directory = await workDirectory(t);
      const env = { ...noInternet, COSIGN_PASSWORD: "" };
      const cosign = (...args: readonly string[]) => surroundings.programs.run("cosign", args, { env });
      await cosign("generate-key-pair", "--output-key-prefix", join(directory, "tests"));
      const [key, pub] = [join(directory, "tests.key"), join(directory, "tests.pub")];
      // Without the public services.
      const alone = ["--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry"];
      return await signing(surroundings, {
        sign: (image) => cosign("sign", "--yes", "--key", key, ...alone, image),
        verify: (image) =>
          cosign("verify", "--key", pub, "--insecure-ignore-tlog", "--allow-http-registry", image),
      });
    },
  },
  {
    name: "notation",
    blobs: "any",
    make: async (t, surroundings) => {
      const directory = await workDirectory(t);
      const env = { ...noInternet, XDG_CONFIG_HOME: directory };
      const notation = (...args: readonly string[]) => surroundings.programs.run("notation", args, { env });
      await notation("cert", "generate-test", "--default", "tests");
      const policy = {
        name: "all",
        registryScopes: ["*"],
        signatureVerification: { level: "strict" },
        trustStores: ["ca:tests"],
        trustedIdentities: ["*"],
      };
      const file = join(directory, "notation/trustpolicy.json");
      await writeFile(file, JSON.stringify({ version: "1.0", trustPolicies: [policy] }));
      return await signing(surroundings, {
        sign: (image) => notation("sign", "--insecure-registry", image),
        verify: (image) => notation("verify", "--insecure-registry", image),
      });
    },
  },
];

function blobsOfApp({ images }: FarRegistry): readonly string[] {
  return images.app.blobs;
}

/** Every file of the copied `made/multi` has the bytes its name says, and none is missing. */
async function isWhole(t: Test, layout: string, { images: { app, multi } }: FarRegistry): Promise<void> {
  const directory = join(layout, "blobs/sha256");
  const names = await readdir(directory);
  const digests = names.map(async (name) => digestOf(await readFile(join(directory, name))));
  const expected = [multi.digest, app.digest, ...app.blobs, multi.arm.digest, ...multi.arm.blobs];
  t.same((await Promise.all(digests)).toSorted(), [...new Set(expected)].toSorted(), "every byte");
}

t.test("newer clients", async (t) => {
  if (!requires(t, ...farRegistryPrograms, "root", "unshare", "iptables")) return;
  const programs = await newerClients(t);
  if (programs === undefined) return;
  const far = await startFarRegistry(t);
  const { front } = far;
  const all: { name: string; mirror: Mirror; client: Client }[] = [];
  // A slow machine is no reason to ask for a blob in parts.
  const env = { ENTREPOT_UPSTREAM_PUSH: "true", ENTREPOT_UPSTREAM_SEGMENTS: "1" };

  for (const { name, blobs = blobsOfApp, inRanges, make } of candidates)
    await t.test(name, async (each) => {
      const host = `127.0.0.1:${await freePort()}`;
      const mirror = await startMirror(t, front, { listen: host, env });
      const client = await make(t, { programs, far, host });
      front.log.forget();
      await client.pull();
      if (inRanges === undefined)
        each.same(front.log.fetchedTwice(), [], "cold: each blob was asked for once");
      const asked = new Set(front.log.blobGets().map(({ path }) => path.slice(path.lastIndexOf("/") + 1)));
      if (blobs !== "any")
        each.same([...asked].toSorted(), [...new Set(blobs(far))].toSorted(), "and no other");
      front.log.forget();
      await client.pull();
      each.same(front.log.blobGets(), [], "warm: no blob crossed the link");
      front.log.forget();
      const repository = `pushed/client-${all.length}`;
      await client.push(`${repository}:1`);
      const put = front.log.entries.find(
        ({ method, path }) => method === "PUT" && path.endsWith(`/${repository}/manifests/1`),
      );
      each.equal(put?.status, 201, "pushed");
      each.ok(
        front.log.entries.every(({ authorized }) => authorized),
        "with the mirror's account",
      );
      all.push({ name, mirror, client });
    });

  await t.test("the far registry dead, after a restart and past the tags' time to live", async (t) => {
    await front.down();
    for (const { name, mirror, client } of all) {
      await mirror.kill();
      const { cacheDirectory, host: listen } = mirror;
      const stale = { ...env, ENTREPOT_TAG_TTL: "0s" };
      const restarted = await startMirror(t, front, { listen, cacheDirectory, env: stale });
      await client.pull();
      t.ok((await restarted.metric("entrepot_stale_served_total")) > 0, name);
      await restarted.kill();
    }
  });
});
