// A real docker daemon pulling real images through the mirror from a real registry; judged by what that registry saw.
import t from "tap";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { greeting } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

/** Pace of the far link in the story, in bytes per second. */
const link = 12_500_000;

t.test("docker", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...dockerPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const listen = `127.0.0.1:${await freePort()}`;
  const cacheDirectory = await workDirectory(t);
  const first = await startMirror(t, front, { listen, cacheDirectory });
  const daemon = await startDockerd(t, first.url);
  const app = `${listen}/made/app:1`;

  /** Seconds a docker command takes; the front's log then holds what it caused. */
  const timed = async (...args: readonly string[]): Promise<number> => {
    front.log.forget();
    const begin = performance.now();
    await daemon.docker(...args);
    return (performance.now() - begin) / 1000;
  };

  await t.test(
    "the story: an empty mirror, a pull, rmi, and a pull that needs no far registry",
    async (t) => {
      t.same(await first.catalog(), [], "the mirror is empty");
      front.rate = link;
      const cold = await timed("pull", app);
      t.equal(front.log.blobGets().length, images.app.blobs.length, "each blob was asked for once");
      t.equal(front.log.blobBytes(), images.app.size, "and crossed the link once");
      t.ok(
        front.log.entries.every(({ authorized }) => authorized),
        "with the mirror's account",
      );
      t.equal(
        await first.metric("entrepot_upstream_received_bytes_total", 'type="blob"'),
        images.app.size,
        "which is what the mirror's metrics say",
      );
      t.same(await first.catalog(), ["made/app"], "the mirror has the repository");
      t.equal(await daemon.greet(app), greeting, "it runs");
      await daemon.docker("rmi", app);
      const warm = await timed("pull", app);
      front.rate = undefined;
      t.same(front.log.blobGets(), [], "no blob crossed the link again");
      t.equal(await daemon.greet(app), greeting, "it runs");
      const ratio = (cold / warm).toFixed(1);
      t.comment(`cold ${cold.toFixed(2)} s, warm ${warm.toFixed(2)} s: ${ratio} times faster`);
      t.comment(`far link: ${images.app.size} bytes of blobs, then 0`);
      t.ok(warm < cold, "the second pull is the faster one");
    },
  );

  await t.test("by digest needs no upstream at all", async (t) => {
    await daemon.forget();
    await timed("pull", `${listen}/made/app@${images.app.digest}`);
    t.same(front.log.entries, [], "not one request");
  });

  await t.test("docker.io names through registry-mirrors", async (t) => {
    await daemon.forget();
    await timed("pull", "busybox:1");
    const paths = new Set(front.log.entries.map(({ path }) => path.split("/").slice(1, 4).join("/")));
    t.same([...paths], ["v2/library/busybox"], "answered by the default upstream");
    t.equal(await daemon.greet("busybox:1"), greeting, "it runs");
    await daemon.forget();
    await timed("pull", "busybox:1");
    t.same(front.log.blobGets(), [], "warm: no blob crossed the link");
  });

  await t.test(
    "a multi-arch image: only this platform's manifest, none of the layers known already",
    async (t) => {
      await daemon.forget();
      await timed("pull", `${listen}/made/multi:1`);
      t.equal(await daemon.greet(`${listen}/made/multi:1`), greeting, "it runs");
      t.same(front.log.blobGets(), [], "the layers came with made/app");
      t.notOk(String(front.log).includes(images.multi.arm.digest), "arm64 was not asked for");
    },
  );

  await t.test("Docker's own media types", async (t) => {
    await daemon.forget();
    await timed("pull", `${listen}/made/schema2:1`);
    t.equal(await daemon.greet(`${listen}/made/schema2:1`), greeting, "it runs");
    t.ok(front.log.blobGets().length <= 1, "only the config differs from made/app");
  });

  const everything = [app, `${listen}/made/multi:1`, `${listen}/made/schema2:1`, "busybox:1"];

  await t.test("warm, with the far registry dead", async (t) => {
    await front.down();
    for (const image of everything) {
      await daemon.forget();
      await daemon.docker("pull", image);
      t.equal(await daemon.greet(image), greeting, image);
    }
  });

  await t.test("the same after a restart and past the tags' time to live", async (t) => {
    await first.kill();
    const env = { ENTREPOT_TAG_TTL: "0s" };
    const second = await startMirror(t, front, { listen, cacheDirectory, env });
    for (const image of everything) {
      await daemon.forget();
      await daemon.docker("pull", image);
      t.equal(await daemon.greet(image), greeting, image);
    }
    t.ok(
      (await second.metric("entrepot_stale_served_total")) >= everything.length,
      "each tag was served stale",
    );
  });
});
