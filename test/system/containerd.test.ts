// containerd names the registry in `?ns=` and the mirror in hosts.toml, with a path prefix or without.
import t from "tap";
import { containerdPrograms, startContainerd } from "./fixtures/containerd.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { greeting } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(120_000);

const plain = "registry.example.com";
const prefixed = "artifactory.example.com";

t.test("containerd", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...containerdPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const mirror = await startMirror(t, front, { env: { ENTREPOT_TAG_TTL: "0s" } });
  const containerd = await startContainerd(t);
  await containerd.mirror(plain, mirror.url);
  await containerd.mirror(prefixed, `${mirror.url}/upstream`);
  const pull = async (image: string, ...options: readonly string[]): Promise<void> => {
    await containerd.forget();
    front.log.forget();
    await containerd.pull(image, ...options);
  };
  const greet = async (image: string): Promise<string> =>
    (await containerd.ctr("run", "--rm", image, `greet-${process.pid}`)).trim();

  await t.test("a plain host, cold and warm", async (t) => {
    await pull(`${plain}/made/app:1`);
    t.equal(front.log.blobGets().length, images.app.blobs.length, "each blob was asked for once");
    t.equal(front.log.blobBytes(), images.app.size, "every blob crossed the link once");
    t.equal(await greet(`${plain}/made/app:1`), greeting, "it runs");
    await pull(`${plain}/made/app:1`);
    t.same(front.log.blobGets(), [], "warm: no blob crossed the link");
  });

  await t.test("a host with the upstream's name as path, cold and warm", async (t) => {
    await pull(`${prefixed}/library/busybox:1`);
    t.equal(await greet(`${prefixed}/library/busybox:1`), greeting, "it runs");
    t.ok(front.log.entries.every(({ path }) => path.startsWith("/v2/library/busybox/")));
    await pull(`${prefixed}/library/busybox:1`);
    t.same(front.log.blobGets(), [], "warm: no blob crossed the link");
  });

  await t.test("every platform of a multi-arch image", async (t) => {
    await pull(`${prefixed}/made/multi:1`, "--all-platforms");
    t.equal(front.log.blobBytes(), images.multi.arm.size, "amd64 came with made/app");
    t.same(front.log.fetchedTwice(), []);
    t.ok(
      front.log.entries.every(({ query, authorized }) => query === "" && authorized),
      "the mirror's own requests, without the client's ns",
    );
  });

  await t.test("warm, with the far registry dead and every tag past its time to live", async (t) => {
    await front.down();
    await pull(`${plain}/made/app:1`);
    t.equal(await greet(`${plain}/made/app:1`), greeting, "it runs");
    await pull(`${prefixed}/library/busybox:1`);
    await pull(`${prefixed}/made/multi:1`, "--all-platforms");
    t.equal(await mirror.metric("entrepot_stale_served_total"), 3, "each tag was served stale");
  });
});
