// Images carried by files between a mirror, other programs and a mirror without a registry: what each of them writes the others read.
import { readdir, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { run } from "./fixtures/child.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { type FarRegistry, farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { greeting } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { redisPrograms, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** The command as a process of its own; rejects, with what it said, unless it exits with 0. */
async function entrepot(...args: string[]): Promise<string> {
  return await run("env", ["-u", "NODE_OPTIONS", process.execPath, program, ...args], { timeout: 60_000 });
}

async function exported(mirror: Mirror, to: string, ...args: string[]): Promise<string> {
  return await entrepot("export", ...args, "--to", to, "--ops", mirror.ops, "--mirror", mirror.url);
}

/** A mirror of the same configuration whose registry is not there. */
async function closedSite(t: Test, env: NodeJS.ProcessEnv = {}): Promise<Mirror> {
  const far = { url: `http://127.0.0.1:${await freePort()}`, username: "ci", password: "x" };
  return await startMirror(t, far, { env: { ENTREPOT_OFFLINE: "true", ...env } });
}

const skopeo = (...args: string[]): Promise<string> => run("skopeo", args, { env: noInternet });

async function open(t: Test): Promise<{ far: FarRegistry; mirror: Mirror; directory: string }> {
  const far = await startFarRegistry(t);
  return { far, mirror: await startMirror(t, far.front), directory: await workDirectory(t) };
}

t.test("what is exported is read by skopeo and podman, from a directory and a tar", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...podmanPrograms)) return;
  const { far, mirror, directory } = await open(t);
  const { app, multi } = far.images;
  const [layout, tar, one] = ["layout", "images.tar", "one.tar"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await exported(mirror, layout, "made/app:1", "made/multi:1");
  await exported(mirror, tar, "made/app:1", "made/multi:1");
  await exported(mirror, one, "made/app:1");
  t.same(far.front.log.fetchedTwice(), [], "nothing crossed the link twice");
  for (const [image, digest] of [
    ["made/app:1", app.digest],
    ["made/multi:1", multi.digest],
  ] as const) {
    for (const [at, from] of [`oci:${layout}:${image}`, `oci-archive:${tar}:${image}`].entries()) {
      const copy = join(directory, `copy-${at}-${digest.slice(7, 20)}`);
      await skopeo("copy", "--quiet", "--all", "--preserve-digests", from, `dir:${copy}`);
      t.ok((await readdir(copy)).includes("manifest.json"), from);
      t.equal((await skopeo("manifest-digest", join(copy, "manifest.json"))).trim(), digest);
    }
  }
  const podman = await makePodman(t, mirror.host);
  const loaded = await podman.podman("load", "--input", one);
  const [, name = ""] = /Loaded image: ?(\S+)/.exec(loaded) ?? [];
  t.match(name, /made\/app:1$/);
  t.equal(await podman.greet(name), greeting, "podman load: it runs");
});

t.test("an interrupted export fetches only what is missing", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { mirror, directory, far } = await open(t);
  const [layout, tar] = [join(directory, "layout"), join(directory, "images.tar")];
  await exported(mirror, layout, "made/app:1");
  await exported(mirror, tar, "made/app:1");
  const largest = await largestBlob(layout);
  await rm(join(layout, "index.json"));
  await rm(join(layout, "blobs/sha256", largest.name));
  const fetched = (said: string) =>
    (JSON.parse(said.trim().split("\n").at(-1) ?? "") as { fetchedBytes: number }).fetchedBytes;
  t.equal(fetched(await exported(mirror, layout, "made/app:1", "--json")), largest.size);
  const { size } = await stat(tar);
  await run("mv", [tar, `${tar}.partial`]);
  await truncate(`${tar}.partial`, size - 2_000);
  const rest = fetched(await exported(mirror, tar, "made/app:1", "--json"));
  t.ok(rest > 0 && rest < far.images.app.size, `${rest} of ${far.images.app.size} bytes`);
  t.equal((await stat(tar)).size, size);
});

async function largestBlob(layout: string): Promise<{ readonly name: string; readonly size: number }> {
  const names = await readdir(join(layout, "blobs/sha256"));
  const sizes = names.map(async (name) => ({
    name,
    size: (await stat(join(layout, "blobs/sha256", name))).size,
  }));
  const [first = { name: "", size: 0 }] = (await Promise.all(sizes)).sort((a, b) => b.size - a.size);
  return first;
}

t.test("a layout of skopeo, and one of ours, are served where there is no registry", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...podmanPrograms, ...dockerPrograms)) return;
  const { far, mirror, directory } = await open(t);
  const [theirs, archive, ours] = ["theirs", "theirs.tar", "ours.tar"].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  const from = `docker://${mirror.host}/made/multi:1`;
  await skopeo("copy", "--quiet", "--all", "--src-tls-verify=false", from, `oci:${theirs}:made/multi:1`);
  const schema2 = `docker://${mirror.host}/library/busybox:1`;
  await skopeo("copy", "--quiet", "--src-tls-verify=false", schema2, `oci-archive:${archive}:1`);
  await exported(mirror, ours, "made/app:1");
  await far.front.down();
  const closed = await closedSite(t);
  const ops = ["--ops", closed.ops];
  await t.rejects(entrepot("import", theirs, ...ops), /--upstream/);
  await entrepot("import", theirs, "--upstream", "upstream", ...ops);
  await entrepot("import", archive, "--upstream", "upstream", "--repository", "library/busybox", ...ops);
  await entrepot("import", ours, ...ops);
  const podman = await makePodman(t, closed.host);
  for (const image of [
    `${closed.host}/made/multi:1`,
    `${closed.host}/made/app:1`,
    "docker.io/library/busybox:1",
  ]) {
    await podman.podman("pull", image);
    t.equal(await podman.greet(image), greeting, `podman: ${image}`);
  }
  const docker = await startDockerd(t, closed.url);
  for (const image of [`${closed.host}/made/app:1`, `${closed.host}/made/multi:1`]) {
    await docker.docker("pull", image);
    t.pass(`docker: ${image}`);
  }
  const again = (await entrepot("import", ours, "--json", ...ops)).trim().split("\n").at(-1) ?? "";
  t.match(JSON.parse(again), { sent: 0, sentBytes: 0 });
});

t.test("an import that is killed goes on; a node with workers takes it", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { mirror, directory } = await open(t);
  const tar = join(directory, "images.tar");
  await exported(mirror, tar, "made/app:1", "made/multi:1");
  const closed = await closedSite(t, { ENTREPOT_WORKERS: "2" });
  const { size } = await stat(tar);
  const half = join(directory, "half.tar");
  await run("cp", [tar, half]);
  await truncate(half, size - 3_000);
  await t.rejects(entrepot("import", half, "--ops", closed.ops), /Unexpected end of data/);
  t.equal((await fetch(`${closed.url}/v2/made/app/manifests/1`)).status, 502, "nothing is served");
  const rest = JSON.parse(
    (await entrepot("import", tar, "--json", "--ops", closed.ops)).trim().split("\n").at(-1) ?? "",
  );
  t.ok(rest.sent > 0 && rest.kept > 0, `${rest.sent} sent, ${rest.kept} were there`);
  t.equal((await fetch(`${closed.url}/v2/made/app/manifests/1`)).status, 200);
});

t.test("of three nodes with Redis one is brought the images, and all serve them", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...redisPrograms)) return;
  const { far, mirror, directory } = await open(t);
  const layout = join(directory, "layout");
  await exported(mirror, layout, "made/app:1", "made/multi:1");
  const redis = await startRedis(t);
  const secret = "a-secret-of-all-nodes".padEnd(32, "x");
  const nodes: Mirror[] = [];
  for (const name of ["a", "b", "c"]) {
    const listen = `127.0.0.1:${await freePort()}`;
    const upstream = { url: `http://127.0.0.1:9`, username: "ci", password: "x" };
    nodes.push(
      await startMirror(t, upstream, {
        listen,
        env: {
          ENTREPOT_OFFLINE: "true",
          ENTREPOT_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
          ENTREPOT_NODE_NAME: name,
          ENTREPOT_NODE_ADDRESS: `http://${listen}`,
          ENTREPOT_NODE_SECRET: secret,
        },
      }),
    );
  }
  const [a, b, c] = nodes as [Mirror, Mirror, Mirror];
  for (const { ops } of nodes)
    await until("it has heard of the others", async () => {
      const document = await (await fetch(`http://${ops}/api/v1/datacenter`)).json();
      return (
        (document as { nodes: readonly { state: string }[] }).nodes.filter(({ state }) => state === "up")
          .length === 3
      );
    });
  await entrepot("import", layout, "--ops", a.ops);
  const { app, multi } = far.images;
  for (const node of [a, b, c]) {
    for (const [image, digest] of [
      ["app", app.digest],
      ["multi", multi.digest],
    ] as const) {
      const accept = {
        headers: {
          accept: "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
        },
      };
      const manifest = await fetch(`${node.url}/v2/made/${image}/manifests/1`, accept);
      t.equal(manifest.status, 200, `made/${image}`);
      t.equal(manifest.headers.get("docker-content-digest"), digest);
    }
    for (const blob of app.blobs) t.equal((await fetch(node.blobUrl(blob, "made/app"))).status, 200);
    t.equal((await fetch(`${node.url}/v2/made/multi/manifests/${multi.arm.digest}`)).status, 200);
  }
  const lifetimes = await redis.ask(async (client) => {
    const keys = (await client.keys("*")).filter((key) => key.includes(":tag:"));
    return await Promise.all(keys.map((key) => client.pttl(key)));
  });
  t.equal(lifetimes.length, 2, "a record for each tag");
  t.ok(
    lifetimes.every((left) => left > 360 * 86_400_000),
    "they last a year, since nobody can be asked again",
  );
  await until("the pins have reached the others", async () => {
    const pins = (await (await fetch(`http://${c.ops}/api/v1/pins`)).json()) as {
      pins: readonly { state: string }[];
    };
    return pins.pins.length === 2 && pins.pins.every(({ state }) => state === "whole");
  });
});
