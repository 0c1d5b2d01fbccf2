// A disk that is full, or that cannot take a blob: of bytes and of inodes, while running and at the start.
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type Digest, makeDigest } from "../src/oci/digest.ts";
import { makeImage, randomBytesFor } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "./fixtures/scripted-upstream.ts";
import { requires } from "./system/fixtures/requires.ts";
import { mountSmallDisk, smallDiskPrograms } from "./system/fixtures/small-disk.ts";

t.setTimeout(120_000);

const mebibyte = 2 ** 20;
const image = makeImage({ layers: [300_000] });

interface SmallDisk {
  readonly upstream: ScriptedUpstream;
  readonly directory: string;
  start(): Promise<Mirror>;
}

/** A cache on a small disk. A twentieth of it is kept free, as by default. */
async function openSmallDisk(t: Test, mebibytes: number, inodes?: number): Promise<SmallDisk> {
  const upstream = await startUpstream(t, { anonymous: true });
  upstream.addImage("team/app", "1", image);
  const directory = join(await mountSmallDisk(t, mebibytes, inodes), "cache");
  const start = (): Promise<Mirror> =>
    startMirror(
      t,
      { url: upstream.url, username: "", password: "" },
      {
        cache: { dir: directory, maxSize: 50e9, keepFree: 0.05 },
      },
    );
  return { upstream, directory, start };
}

async function pull(mirror: Mirror, digest: Digest): Promise<void> {
  const { status, complete } = await mirror.get(`/v2/team/app/blobs/${digest}`);
  if (status !== 200 || !complete) throw new Error(`${digest}: ${status}, ${complete ? "whole" : "cut"}`);
}

/** Whether a client is served without a question to upstream. */
async function isCached({ upstream }: SmallDisk, mirror: Mirror, digest: Digest): Promise<boolean> {
  upstream.forget();
  await pull(mirror, digest);
  return upstream.count({ kind: "blob" }) === 0;
}

async function text(mirror: Mirror, path: string): Promise<string> {
  return await (await fetch(new URL(path, mirror.ops))).text();
}

function evictions(metrics: string): number {
  const lines = metrics.match(/^entrepot_cache_evictions_total\{store="disk".*$/gm) ?? [];
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

for (const sized of [true, false])
  t.test(
    `nothing goes for a blob that cannot fit, ${sized ? "announced" : "without a length"}`,
    async (t) => {
      if (!requires(t, ...smallDiskPrograms)) return;
      const small = await openSmallDisk(t, 10);
      const { upstream } = small;
      const mirror = await small.start();
      const kept: Digest[] = [];
      for (let at = 0; at < 5; at++) {
        kept.push(upstream.addBlob("team/app", randomBytesFor(`kept ${at}`, mebibyte)));
        await pull(mirror, kept[at] as Digest);
      }
      const large = upstream.addBlob("team/app", randomBytesFor("large", 16 * mebibyte));
      if (!sized) upstream.fault(({ path }) => (path.includes(large) ? { noLength: true } : undefined));
      for (const _ of [1, 2]) await pull(mirror, large);
      t.equal(evictions(await text(mirror, "/metrics")), 0);
      for (const digest of kept) t.ok(await isCached(small, mirror, digest));
      const fitting = upstream.addBlob("team/app", randomBytesFor("fitting", 6 * mebibyte));
      await pull(mirror, fitting);
      t.ok(await isCached(small, mirror, fitting), "what fits has the room of others");
    },
  );

t.test("inodes are freed for new blobs as bytes are", async (t) => {
  if (!requires(t, ...smallDiskPrograms)) return;
  const small = await openSmallDisk(t, 64, 60);
  const mirror = await small.start();
  for (let at = 0; at < 60; at++) {
    const digest = small.upstream.addBlob("team/app", randomBytesFor(`small ${at}`, 1000));
    await pull(mirror, digest);
  }
  const large = small.upstream.addBlob("team/app", randomBytesFor("last", mebibyte));
  await pull(mirror, large);
  t.ok(await isCached(small, mirror, large));
  const metrics = await text(mirror, "/metrics");
  t.ok(evictions(metrics) > 10, `${evictions(metrics)} evictions`);
  t.match(metrics, /^entrepot_store_errors_total\{op="create",code="no_space"\} 0$/m);
  t.match(metrics, /^entrepot_store_errors_total\{op="commit",code="no_space"\} 0$/m);
  t.match(metrics, /^entrepot_cache_disk_free_inodes \d+$/m);
});

/** Leaves nothing of what the disk has. */
const fill: Record<string, (directory: string) => Promise<void>> = {
  bytes: async (directory) => {
    for (let size = mebibyte; size >= 1; size >>= 1)
      try {
        for (;;) await writeFile(join(directory, "ballast"), Buffer.alloc(size), { flag: "a", flush: true });
      } catch {
        // Full for this size; the next is half of it.
      }
  },
  inodes: async (directory) => {
    await mkdir(join(directory, "ballast"));
    try {
      for (let at = 0; ; at++) await writeFile(join(directory, "ballast", String(at)), "");
    } catch {
      // No more of them.
    }
  },
};

for (const [what, fillWith] of Object.entries(fill))
  for (const lost of [false, true])
    t.test(`a start on a disk without ${what}${lost ? ", and without an index" : ""}`, async (t) => {
      if (!requires(t, ...smallDiskPrograms)) return;
      const small = await openSmallDisk(t, 16, 200);
      const first = await small.start();
      await first.get("/v2/team/app/manifests/1");
      for (const { digest } of [image.config, ...image.layers]) await pull(first, digest as Digest);
      for (let at = 0; at < 20; at++)
        await pull(first, small.upstream.addBlob("team/app", randomBytesFor(`more ${at}`, 100_000)));
      await first.app.stop();
      if (lost) for (const name of ["index.db", "index.db.copy"]) await rm(join(small.directory, name));
      await fillWith(small.directory);
      const mirror = await small.start();
      t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
      for (const { digest } of [image.config, ...image.layers]) await pull(mirror, digest as Digest);
      const said = `${await text(mirror, "/readyz")}\n${mirror.lines.map(({ msg }) => msg).join("\n")}`;
      t.match(said, /the disk (is|was) full/);
      await rm(join(small.directory, "ballast"), { recursive: true });
      t.ok((await readdir(small.directory)).includes("index.db"));
      const digest = small.upstream.addBlob("team/app", randomBytesFor("when there is room", 10_000));
      await pull(mirror, digest);
      t.ok(await isCached(small, mirror, digest));
    });

t.test("a digest nobody has stays a 404 on a full disk, and a stop there is one", async (t) => {
  if (!requires(t, ...smallDiskPrograms)) return;
  const small = await openSmallDisk(t, 16);
  const mirror = await small.start();
  await fill.bytes?.(small.directory);
  t.equal((await mirror.get(`/v2/team/app/blobs/${makeDigest("sha256", "0".repeat(64))}`)).status, 404);
  await mirror.app.stop();
});
