// Real clients pushing through the mirror to a real registry; what they pushed is then pulled, through the mirror too.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { attempt, run } from "./fixtures/child.ts";
import { Content } from "./fixtures/content.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { type FarRegistry, farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import type { Front } from "./fixtures/front.ts";
import { greeting } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

interface Both extends FarRegistry {
  readonly mirror: Mirror;
}

/** A mirror that lets writes through. Tags live for ever: only a push through it can move one. */
async function startBoth(t: Test): Promise<Both> {
  const far = await startFarRegistry(t);
  const env = {
    ENTREPOT_UPSTREAM_PUSH: "true",
    ENTREPOT_TAG_TTL: "forever",
    // The registry behind the front, where uploads may go on.
    ENTREPOT_UPSTREAM_REDIRECTS_TO: "127.0.0.1",
  };
  const listen = `127.0.0.1:${await freePort()}`;
  return { ...far, mirror: await startMirror(t, far.front, { env, listen }) };
}

async function skopeo(...args: readonly string[]): Promise<string> {
  return await run("skopeo", args, { env: noInternet });
}

/** Digest of what a tag names, as a client of the mirror sees it, or what it was answered instead. */
async function digestOf(mirror: Mirror, name: string): Promise<string> {
  const answer = await fetch(`${mirror.url}/v2/${name.replace(":", "/manifests/")}`, { method: "HEAD" });
  return answer.headers.get("docker-content-digest") ?? `none, with ${answer.status}`;
}

/** Every request upstream was the mirror's own, with its account. */
function allAuthorized(front: Front): boolean {
  return front.log.entries.every(({ authorized }) => authorized);
}

t.test("docker push, and the image pulled again", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...dockerPrograms)) return;
  const { front, mirror } = await startBoth(t);
  const daemon = await startDockerd(t, mirror.url);
  const [source, target] = [`${mirror.host}/made/app:1`, `${mirror.host}/pushed/app:1`];
  await daemon.docker("pull", source);
  await daemon.docker("tag", source, target);
  front.log.forget();
  await daemon.docker("push", target);
  t.ok(front.log.entries.some(({ method, status }) => method === "PUT" && status === 201));
  t.ok(allAuthorized(front));
  await daemon.forget();
  await daemon.docker("pull", target);
  t.equal(await daemon.greet(target), greeting);

  await t.test("layers that had to be sent, for no repository could lend them", async (t) => {
    const fresh = `${mirror.host}/pushed/fresh:1`;
    const made = join(await workDirectory(t), "context");
    await run("mkdir", [made]);
    await run("sh", ["-c", `head -c 30000000 /dev/urandom >${made}/noise`]);
    await run("sh", ["-c", `printf 'FROM ${target}\\nCOPY noise /noise\\n' >${made}/Dockerfile`]);
    await daemon.docker("build", "--tag", fresh, made);
    front.log.forget();
    await daemon.docker("push", fresh);
    t.ok(front.log.entries.some(({ method, status }) => method === "PATCH" && status === 202));
    await daemon.forget();
    await daemon.docker("pull", fresh);
    t.equal(await daemon.greet(fresh), greeting);
  });
});

for (const locations of ["front", "registry"] as const) {
  t.test(`skopeo copy, with uploads that go on at the ${locations}`, async (t) => {
    if (!requires(t, ...farRegistryPrograms)) return;
    const { front, images, mirror } = await startBoth(t);
    front.locations = locations;
    const copy = (tag: string, name: string): Promise<string> => {
      const flags = ["--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"];
      return skopeo("copy", ...flags, `oci:${images.directory}:${tag}`, `docker://${mirror.host}/${name}`);
    };
    for (const tag of ["app", "multi", "artifact"] as const) {
      await copy(tag, `pushed/${tag}:1`);
      t.equal(await digestOf(mirror, `pushed/${tag}:1`), images[tag].digest, tag);
    }
    t.ok(allAuthorized(front));
    const patches = front.log.entries.filter(({ method }) => method === "PATCH").length;
    t.equal(patches > 0, locations === "front", "where the bodies went");

    await t.test("a tag that is pushed again is new at once, and gone when it is deleted", async (t) => {
      await copy("busybox", "pushed/app:1");
      t.equal(await digestOf(mirror, "pushed/app:1"), images.busybox.digest);
      await skopeo("delete", "--tls-verify=false", `docker://${mirror.host}/pushed/app:1`);
      t.equal(await digestOf(mirror, `pushed/app:${images.busybox.digest}`), "none, with 404");
    });

    await t.test("pulled back, every byte", async (t) => {
      const directory = join(await workDirectory(t), "copy");
      const from = `docker://${mirror.host}/pushed/multi:1`;
      await skopeo("copy", "--quiet", "--all", "--src-tls-verify=false", from, `oci:${directory}:1`);
    });
  });
}

t.test("docker push and skopeo copy under a name that is not the registry's own", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...dockerPrograms)) return;
  const far = await startFarRegistry(t);
  const config = join(await workDirectory(t), "entrepot.yaml");
  await writeFile(config, "upstream: {component: hub, library: true, repositoryPrefix: docker-local}\n");
  const env = { ENTREPOT_UPSTREAM_PUSH: "true", ENTREPOT_TAG_TTL: "forever" };
  const listen = `127.0.0.1:${await freePort()}`;
  const mirror = await startMirror(t, far.front, { env, listen, config });
  const from = `oci:${far.images.directory}:app`;
  const [first, second] = [`${mirror.host}/hub/pushed:1`, `${mirror.host}/hub/other/app:1`];
  await skopeo("copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", from, `docker://${first}`);
  t.equal(await digestOf(mirror, "hub/pushed:1"), far.images.app.digest);
  t.ok(
    far.front.log.entries.every(
      ({ path }) => path === "/v2/" || path.startsWith("/v2/docker-local/library/pushed/"),
    ),
  );
  const daemon = await startDockerd(t, mirror.url);
  await daemon.docker("pull", first);
  await daemon.docker("tag", first, second);
  far.front.log.forget();
  await daemon.docker("push", second);
  const mounts = far.front.log.entries.filter(({ query }) => query.includes("mount="));
  t.ok(
    mounts.length > 0 && mounts.every(({ status }) => status === 201),
    "mounted from the other name's layers",
  );
  t.ok(
    mounts.every(({ query }) => query.includes(`from=${encodeURIComponent("docker-local/library/pushed")}`)),
    "under upstream's name",
  );
  await daemon.forget();
  await daemon.docker("pull", second);
  t.equal(await daemon.greet(second), greeting);
});

t.test("podman push", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...podmanPrograms)) return;
  const { mirror } = await startBoth(t);
  const podman = await makePodman(t, mirror.host);
  const [source, target] = [`${mirror.host}/made/app:1`, `${mirror.host}/pushed/app:1`];
  await podman.podman("pull", source);
  await podman.podman("tag", source, target);
  await podman.podman("push", target);
  await podman.forget();
  await podman.podman("pull", target);
  t.equal(await podman.greet(target), greeting);
});

/** Sends the blob in one chunked PATCH, as docker does. */
async function upload(mirror: Mirror, content: Content): Promise<void> {
  const begun = await fetch(`${mirror.url}/v2/pushed/large/blobs/uploads/`, { method: "POST" });
  const location = (answer: Response): URL => new URL(answer.headers.get("location") ?? "", mirror.url);
  const body = ReadableStream.from(content.chunks(0));
  const sent = await fetch(location(begun), { method: "PATCH", body, duplex: "half" } as RequestInit);
  const target = location(sent);
  target.searchParams.append("digest", content.digest);
  const done = await fetch(target, { method: "PUT" });
  if (done.status !== 201) throw new Error(`the upload was answered ${done.status}`);
}

t.test("memory does not grow with the size of a layer", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { mirror } = await startBoth(t);
  await upload(mirror, new Content("small", 50 * 2 ** 20));
  const before = await mirror.peakMemory();
  await upload(mirror, new Content("large", 200 * 2 ** 20));
  const grown = (await mirror.peakMemory()) - before;
  t.comment(
    `50 MiB pushed: ${Math.round(before / 1e6)} MB; 200 MiB more: ${Math.round(grown / 1e6)} MB more`,
  );
  t.ok(grown < 40e6, `${grown} bytes more for 200 MiB`);
});

t.test("without the setting nothing goes through", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const mirror = await startMirror(t, front);
  const from = `oci:${images.directory}:app`;
  const args = ["copy", "--quiet", "--dest-tls-verify=false", from, `docker://${mirror.host}/pushed/app:1`];
  const { code, output } = await attempt("skopeo", args, { env: noInternet });
  t.not(code, 0);
  t.match(output, /read-only/);
  t.notOk(front.log.entries.some(({ method }) => method !== "GET" && method !== "HEAD"));
});
