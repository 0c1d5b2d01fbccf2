import { readdirSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { type Digest, digestHex } from "../../../src/oci/digest.ts";
import { type DiskStore, openDiskStore } from "../../../src/storage/disk/store.ts";
import { digestOf, getBlob, readRange, someBytes } from "../../fixtures/blob-store-suite.ts";
import { attempt, run } from "../../system/fixtures/child.ts";
import { requires } from "../../system/fixtures/requires.ts";
import { mountSmallDisk, smallDiskPrograms } from "../../system/fixtures/small-disk.ts";
import { killWorker } from "../fixtures/kill-worker.ts";

const worker = join(import.meta.dirname, "../fixtures/commit-one.ts");

async function openStore(t: Test, directory: string): Promise<DiskStore> {
  const store = await openDiskStore({ directory });
  t.teardown(() => store.close());
  return store;
}

function pathOf(directory: string, digest: Digest): string {
  const hex = digestHex(digest);
  return join(directory, "blobs/sha256", hex.slice(0, 2), hex);
}

t.test("a commit is data, then name, then directory", async (t) => {
  if (!requires(t, "linux", "strace")) return;
  const directory = join(t.testdir(), "cache");
  const trace = join(t.testdirName, "trace");
  const calls = "trace=fdatasync,fsync,rename,renameat,renameat2";
  await run("strace", ["-f", "-y", "-e", calls, "-o", trace, process.execPath, worker, directory]);
  const lines = (await readFile(trace, "utf8")).split("\n");
  const done = (pattern: RegExp): number => lines.findLastIndex((line) => pattern.test(line));
  const data = done(/fdatasync\(\d+<[^>]*\/spool\/[0-9a-f]{32}\.part>\) += 0/);
  const parent = done(/fsync\(\d+<[^>]*\/blobs\/sha256>\) += 0/);
  const name = done(/rename\(".*\/spool\/[0-9a-f]{32}\.part", ".*\/blobs\/sha256\/.*"\) += 0/);
  const shard = done(/fsync\(\d+<[^>]*\/blobs\/sha256\/[0-9a-f]{2}>\) += 0/);
  t.ok(data >= 0 && data < parent && parent < name && name < shard, `${[data, parent, name, shard]}`);
});

t.test("a disk that fails to sync", async (t) => {
  if (!requires(t, "linux", "strace")) return;
  const digest = digestOf(someBytes(50_000, 1));
  for (const call of ["fdatasync", "fsync"])
    await t.test(`${call} of the ${call === "fsync" ? "directory" : "file"}`, async (t) => {
      const directory = t.testdir();
      const shard = dirname(pathOf(directory, digest));
      await run(process.execPath, [worker, directory, "2"]);
      await mkdir(shard);
      const only = call === "fsync" ? ["-P", shard] : [];
      const fault = ["-f", ...only, "-e", `inject=${call}:error=EIO`];
      const ran = await attempt("strace", [...fault, process.execPath, worker, directory, "1"]);
      t.match(ran.output, new RegExp(`StoreError: cannot commit ${digest}: EIO`));
      t.same(await readdir(join(directory, "spool")), [], "the spool file is gone");
      const store = await openStore(t, directory);
      t.equal(await store.open(digest), undefined, "not visible");
      t.ok(await getBlob(store, digestOf(someBytes(50_000, 2))), "what was committed before is");
    });
});

t.test("a rename that fails leaves nothing, and followers reading", async (t) => {
  const directory = t.testdir();
  const store = await openStore(t, directory);
  const bytes = someBytes(5000);
  const digest = digestOf(bytes);
  await mkdir(pathOf(directory, digest), { recursive: true });
  await writeFile(join(pathOf(directory, digest), "in the way"), "");
  const writer = await store.create();
  await writer.append([bytes]);
  await t.rejects(writer.commit(digest, bytes.length), { name: "StoreError", code: "io" });
  t.same(await readdir(join(directory, "spool")), []);
  await writer.abort();
  t.ok((await readRange(writer, 0, bytes.length)).equals(bytes));
  await writer.release();
  await t.rejects(store.open(digest), { name: "StoreError", code: "io" }, "a directory is not a blob");
});

t.test("a full disk", async (t) => {
  if (!requires(t, ...smallDiskPrograms)) return;
  const directory = await mountSmallDisk(t, 1);
  const store = await openDiskStore({ directory });
  t.teardown(() => store.close());
  const descriptors = readdirSync("/proc/self/fd").length;
  const kibibytes = (count: number, seed: number): Buffer => someBytes(count * 1024, seed);
  const noSpace = { name: "StoreError", code: "no_space" };
  const { free } = await store.freeSpace();

  await t.test("refuses early when told the size", async (t) => {
    await t.rejects(store.create(2 * 1024 * 1024), noSpace);
    t.same(await readdir(join(directory, "spool")), []);
  });

  await t.test("fails the append that does not fit; what was written before stays readable", async (t) => {
    const writer = await store.create();
    await writer.append([kibibytes(600, 1)]);
    const large = [kibibytes(200, 2), kibibytes(900, 3), kibibytes(100, 4)];
    await t.rejects(writer.append(large), noSpace);
    t.equal(writer.written, 600 * 1024);
    t.ok((await readRange(writer, 0, writer.written)).equals(kibibytes(600, 1)));
    await writer.abort();
    await writer.release();
    t.equal((await store.freeSpace()).free, free, "the space is back");
  });

  await t.test("a smaller append after a failed one makes a blob of what was asked for", async (t) => {
    const bytes = Buffer.concat([kibibytes(600, 1), kibibytes(10, 5)]);
    const writer = await store.create();
    await writer.append([kibibytes(600, 1)]);
    await t.rejects(writer.append([kibibytes(900, 3)]), noSpace);
    await writer.append([kibibytes(10, 5)]);
    const digest = digestOf(bytes);
    await writer.commit(digest, bytes.length);
    await writer.release();
    t.ok((await getBlob(store, digest))?.equals(bytes));
    t.equal(await store.delete(digest), true);
    t.equal((await store.freeSpace()).free, free, "and the space is back when it goes");
  });

  t.equal(readdirSync("/proc/self/fd").length, descriptors, "no descriptor is left open");
});

t.test("killed at any moment, nothing partial is visible afterwards", async (t) => {
  const directory = t.testdir();
  let swept = 0;
  for (let round = 0; round < 20; round++) {
    const committed = await killWorker(t, directory, round * 1000, 1 + ((round * 5) % 17));
    const store = await openDiskStore({ directory });
    swept += store.swept;
    t.same(await readdir(join(directory, "spool")), [], `round ${round}: the spool is empty`);
    const found = new Set<string>();
    for await (const { digest, size } of store.list()) {
      const bytes = await getBlob(store, digest);
      if (bytes?.length !== size || digestOf(bytes) !== digest) t.fail(`${digest} is not whole`);
      found.add(digest);
    }
    const last = committed.at(-1);
    if (last !== undefined) t.ok(found.has(last), `round ${round}: a blob said to be committed is there`);
    await store.close();
  }
  t.ok(swept > 0, `${swept} of the kills came in the middle of a blob`);
});
