// podman takes the manifest from a mirror and then every blob from there only: the mirror must not fail half-way.
import t from "tap";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { greeting } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(120_000);

t.test("podman", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...podmanPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const mirror = await startMirror(t, front, { env: { ENTREPOT_TAG_TTL: "0s" } });
  const podman = await makePodman(t, mirror.host);
  const pull = async (image: string): Promise<void> => {
    await podman.forget();
    front.log.forget();
    await podman.podman("pull", image);
  };

  await t.test("cold and warm, by the mirror's name", async (t) => {
    const app = `${mirror.host}/made/app:1`;
    await pull(app);
    t.equal(front.log.blobGets().length, images.app.blobs.length, "each blob was asked for once");
    t.equal(front.log.blobBytes(), images.app.size, "every blob crossed the link once");
    t.equal(await podman.greet(app), greeting, "it runs");
    await pull(app);
    t.same(front.log.blobGets(), [], "warm: no blob crossed the link");
    t.equal(await podman.greet(app), greeting, "it runs");
  });

  await t.test(
    "login: an open mirror asks for nothing and takes anything, and none of it goes upstream",
    async (t) => {
      front.log.forget();
      await podman.podman("login", "--tls-verify=false", "-u", "anybody", "-p", "anything", mirror.host);
      t.same(front.log.entries, []);
      await pull(`${mirror.host}/made/app:1`);
      t.ok(
        front.log.entries.every(({ authorized }) => authorized),
        "with the mirror's own account",
      );
    },
  );

  await t.test("by digest needs no upstream", async (t) => {
    await pull(`${mirror.host}/made/app@${images.app.digest}`);
    t.same(front.log.entries, [], "not one request");
  });

  await t.test("docker.io names through registries.conf", async (t) => {
    await pull("docker.io/library/busybox:1");
    t.ok(front.log.manifestRequests().every(({ path }) => path.startsWith("/v2/library/busybox/")));
    t.equal(await podman.greet("docker.io/library/busybox:1"), greeting, "it runs");
  });

  await t.test("a multi-arch image", async (t) => {
    await pull(`${mirror.host}/made/multi:1`);
    t.same(front.log.blobGets(), [], "the layers came with made/app");
    t.equal(await podman.greet(`${mirror.host}/made/multi:1`), greeting, "it runs");
  });

  await t.test("warm, with the far registry dead and every tag past its time to live", async (t) => {
    await front.down();
    for (const image of [
      `${mirror.host}/made/app:1`,
      `${mirror.host}/made/multi:1`,
      "docker.io/library/busybox:1",
    ]) {
      await pull(image);
      t.equal(await podman.greet(image), greeting, image);
    }
    t.equal(await mirror.metric("entrepot_stale_served_total"), 3, "each tag was served stale");
  });
});
