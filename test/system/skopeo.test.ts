// skopeo compares what it copies with what it was promised, digest for digest.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { run } from "./fixtures/child.ts";
import { digestOf } from "./fixtures/content.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { writeRegistries } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(120_000);

t.test("skopeo", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const mirror = await startMirror(t, front, { env: { ENTREPOT_TAG_TTL: "0s" } });
  const from = `docker://${mirror.host}/made`;

  /** Copies into an empty layout and gives the digest of every file in it. */
  const copy = async (source: string, ...options: string[]): Promise<string[]> => {
    const directory = join(await workDirectory(t), "copy");
    const flags = ["--quiet", "--src-tls-verify=false", ...options];
    await run("skopeo", ["copy", ...flags, source, `oci:${directory}:1`], { env: noInternet });
    const blobs = join(directory, "blobs/sha256");
    const names = await readdir(blobs);
    const digests = names.map(async (name) => digestOf(await readFile(join(blobs, name))));
    return (await Promise.all(digests)).sort();
  };
  const inspect = async (...args: string[]): Promise<string> =>
    await run("skopeo", [...args.slice(0, 1), "--tls-verify=false", ...args.slice(1)], { env: noInternet });

  const { app, multi, artifact } = images;
  const whole = [multi.digest, app.digest, ...app.blobs, multi.arm.digest, ...multi.arm.blobs].sort();

  await t.test("copy --all takes every platform, each blob once", async (t) => {
    t.same(await copy(`${from}/multi:1`, "--all"), [...new Set(whole)]);
    t.equal(front.log.blobBytes(), app.size + multi.arm.size);
    t.same(front.log.fetchedTwice(), []);
    front.log.forget();
    t.same(await copy(`${from}/multi:1`, "--all"), [...new Set(whole)]);
    t.same(front.log.blobGets(), [], "and not again");
  });

  await t.test("an artifact that is no image", async (t) => {
    t.same(await copy(`${from}/artifact:1`), [artifact.digest, ...artifact.blobs].sort());
  });

  await t.test("inspect, raw and not, and list-tags", async (t) => {
    const raw = await inspect("inspect", "--raw", `${from}/multi:1`);
    t.equal(digestOf(Buffer.from(raw)), multi.digest, "the manifest's bytes are upstream's");
    const { Digest, RepoTags } = JSON.parse(await inspect("inspect", `${from}/app:1`));
    t.match({ Digest, RepoTags }, { Digest: app.digest, RepoTags: ["1"] });
    t.same(JSON.parse(await inspect("list-tags", `${from}/app`)).Tags, ["1"]);
  });

  await t.test("docker.io names through a mirror in registries.conf", async (t) => {
    const registries = join(await workDirectory(t), "registries.conf");
    await writeRegistries(registries, mirror.host);
    const directory = join(await workDirectory(t), "copy");
    const name = "docker://docker.io/library/busybox:1";
    const args = ["--registries-conf", registries, "copy", "--quiet", name, `oci:${directory}:1`];
    await run("skopeo", args, { env: noInternet });
    t.ok((await readdir(join(directory, "blobs/sha256"))).includes(images.busybox.digest.slice(7)));
  });

  await t.test("warm, with the far registry dead and every tag past its time to live", async (t) => {
    await front.down();
    t.same(await copy(`${from}/multi:1`, "--all"), [...new Set(whole)]);
    t.same(await copy(`${from}/artifact:1`), [artifact.digest, ...artifact.blobs].sort());
    t.equal(await mirror.metric("entrepot_stale_served_total"), 2, "each tag was served stale");
  });

  t.ok(
    front.log.entries.every(({ authorized, query }) => authorized && !query.includes("ns=")),
    "every request upstream was the mirror's own, with its account",
  );
});
