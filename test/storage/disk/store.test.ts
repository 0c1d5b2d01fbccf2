import { existsSync, readdirSync } from "node:fs";
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestHex, makeDigest } from "../../../src/oci/digest.ts";
import type { BlobInfo } from "../../../src/ports/blobs.ts";
import { type DiskStore, openDiskStore } from "../../../src/storage/disk/store.ts";
import { blobStoreSuite, digestOf, getBlob, putBlob, someBytes } from "../../fixtures/blob-store-suite.ts";
import { startWorker } from "../fixtures/kill-worker.ts";

async function openStore(t: Test, directory = t.testdir()): Promise<DiskStore> {
  const store = await openDiskStore({ directory });
  t.teardown(() => store.close());
  return store;
}

/** 0 where the system does not say. */
function openDescriptors(): number {
  return existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0;
}

t.test("the suite of every BlobStore", async (t) => {
  const before = openDescriptors();
  await t.test("the suite", (t) => blobStoreSuite(t, (t) => openStore(t)));
  t.equal(openDescriptors(), before, "no descriptor is left open");
});

t.test("the layout on disk", async (t) => {
  const directory = join(t.testdir(), "made/by/the/store");
  const store = await openStore(t, directory);
  t.equal(store.created, true);
  const bytes = someBytes(1000);
  const hex = digestHex(await putBlob(store, bytes));
  const file = join(directory, "blobs/sha256", hex.slice(0, 2), hex);
  t.ok((await readFile(file)).equals(bytes));
  for (const path of ["", "spool", "blobs", "blobs/sha256", `blobs/sha256/${hex.slice(0, 2)}`])
    t.equal((await stat(join(directory, path))).mode & 0o777, 0o700, `nobody else reads ${path || "it"}`);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.same(await readdir(join(directory, "spool")), []);
});

t.test("opening again finds what is there and sweeps what fills left", async (t) => {
  const directory = t.testdir();
  const first = await openDiskStore({ directory });
  const digest = await putBlob(first, someBytes(10));
  for (let at = 0; at < 3; at++) {
    const writer = await first.create();
    await writer.append([someBytes(100)]);
    await writer.release();
  }
  await writeFile(join(directory, "spool/not-ours.txt"), "kept");
  await first.close();
  const second = await openStore(t, directory);
  t.equal(second.swept, 3);
  t.equal(second.created, false);
  t.same(await readdir(join(directory, "spool")), ["not-ours.txt"]);
  t.ok(await getBlob(second, digest));
});

t.test("foreign names among the blobs are no blobs", async (t) => {
  const directory = t.testdir();
  const store = await openStore(t, directory);
  const digest = await putBlob(store, someBytes(10));
  const hex = digestHex(digest);
  const shard = join(directory, "blobs/sha256", hex.slice(0, 2));
  const other = hex.slice(2, 4) === "ff" ? "00" : "ff";
  await mkdir(join(directory, "blobs/sha256", other), { recursive: true });
  await writeFile(join(shard, `${hex}.part`), "");
  await writeFile(join(shard, "README"), "");
  await writeFile(join(directory, "blobs/sha256/lost"), "");
  await writeFile(join(directory, "blobs/sha256", other, hex), "in the wrong shard");
  const zeros = `${hex.slice(0, 2)}${"0".repeat(62)}`;
  await mkdir(join(shard, zeros));
  const found: BlobInfo[] = [];
  for await (const info of store.list()) found.push(info);
  t.same(
    found.map((info) => info.digest),
    [digest],
  );
  const descriptors = openDescriptors();
  await t.rejects(store.open(makeDigest("sha256", zeros)), { name: "StoreError", code: "io" });
  t.equal(openDescriptors(), descriptors, "nor is a directory opened and forgotten");
});

t.test("a directory that cannot be used is refused with its name and a way out", async (t) => {
  const directory = t.testdir({ file: "", "no-spool": { spool: "" }, "no-blobs": { blobs: "" } });
  await symlink(join(directory, "nowhere/at/all"), join(directory, "dangling"));
  for (const name of ["file", "file/below", "no-spool", "no-blobs", "dangling"]) {
    const path = join(directory, name);
    const failure = await openDiskStore({ directory: path }).catch((error: unknown) => error);
    t.match(failure, { name: "StoreError", code: /unavailable|io/ }, name);
    t.match(String(failure), path, "names the directory");
    t.match(String(failure), /check that it is a directory/, "says what to do");
  }
});

t.test("a directory without permission", async (t) => {
  if (process.getuid?.() === 0) return t.plan(0, "root may write everywhere");
  const directory = t.testdir();
  await chmod(directory, 0o500);
  t.teardown(() => chmod(directory, 0o700));
  await t.rejects(openDiskStore({ directory }), { name: "StoreError", code: "unavailable" });
});

t.test("one store per directory", async (t) => {
  const directory = t.testdir();
  const message = /cache directory .* is in use by another process/;
  const refusal = { name: "StoreError", code: "unavailable", message };

  await t.test("in one process", async (t) => {
    const store = await openDiskStore({ directory });
    const writer = await store.create();
    await t.rejects(openDiskStore({ directory }), refusal);
    t.equal((await readdir(join(directory, "spool"))).length, 1, "the running fill is not swept away");
    await writer.abort();
    await writer.release();
    await store.close();
    await store.close();
    const next = await openDiskStore({ directory });
    await next.close();
  });

  await t.test("in two, and a killed one lets go", async (t) => {
    const child = await startWorker(t, directory, 1, 1);
    await t.rejects(openDiskStore({ directory }), refusal);
    await child.stop("SIGKILL");
    const store = await openStore(t, directory);
    t.ok(store.swept <= 1);
  });
});

t.test("a store whose directory went away says so", async (t) => {
  const directory = t.testdir();
  const store = await openStore(t, directory);
  const digest = digestOf(Buffer.from("x"));
  t.equal(await store.open(digest), undefined);
  // As when the disk is unmounted under it.
  await rename(join(directory, "blobs"), join(directory, "away"));
  const refusal = { name: "StoreError", code: "unavailable" };
  await t.rejects(store.open(digest), refusal, "absent would be a lie");
  await t.rejects(store.delete(digest), refusal);
  await t.rejects(async () => {
    for await (const info of store.list()) t.fail(info.digest);
  }, refusal);
});

t.test("a file cut by somebody else fails the read, it does not end it", async (t) => {
  const directory = t.testdir();
  const store = await openStore(t, directory);
  const hex = digestHex(await putBlob(store, someBytes(1000)));
  const blob = await store.open(digestOf(someBytes(1000)));
  await truncate(join(directory, "blobs/sha256", hex.slice(0, 2), hex), 500);
  t.equal((await blob?.read(0, Buffer.alloc(1000)))?.length, 500);
  await t.rejects(async () => blob?.read(500, Buffer.alloc(500)), { name: "StoreError", code: "io" });
  await blob?.close();
});

t.test("free space, and a blob larger than it", async (t) => {
  const store = await openStore(t);
  const { free, total } = await store.freeSpace();
  t.ok(free > 0 && free <= total);
  await t.rejects(store.create(total + 1), { name: "StoreError", code: "no_space" });
  t.intercept(store, "freeSpace", { value: async () => ({ free: 1_000, total }) });
  await (await store.create(1_000)).abort();
  await t.rejects(store.create(1_001), { name: "StoreError", code: "no_space" });
});

t.test("when a blob was stored, and its size; nothing for one that is not here", async (t) => {
  const store = await openStore(t);
  const bytes = someBytes(10);
  t.equal(await store.info(digestOf(bytes)), undefined);
  const before = Date.now() - 1000;
  const digest = await putBlob(store, bytes);
  const { size, modifiedAt = 0 } = (await store.info(digest)) ?? {};
  t.equal(size, 10);
  t.ok(modifiedAt > before && modifiedAt <= Date.now() + 1000);
});

t.test(
  "what is nobody's in the spool is swept while the store is used, and every byte of it counts",
  async (t) => {
    const directory = t.testdir();
    const store = await openStore(t, directory);
    const running = await store.create();
    await running.append([someBytes(100)]);
    const read = await store.create();
    await read.append([someBytes(1_000)]);
    await read.abort();
    t.equal(store.spoolBytes, 1_100, "removed, but its space is not free before it is released");
    const left = join(directory, "spool", `${"a".repeat(32)}.part`);
    await writeFile(left, someBytes(10_000));
    await writeFile(join(directory, "spool", "somebody-elses.part"), "x");
    t.equal(await store.sweep(), 1);
    t.same((await readdir(join(directory, "spool"))).length, 2, "the running fill and the foreign file stay");
    t.equal(await store.sweep(), 0);
    await read.release();
    t.equal(store.spoolBytes, 100);
    await running.append([someBytes(23)]);
    t.equal(store.spoolBytes, 123);
    await running.commit(digestOf(Buffer.concat([someBytes(100), someBytes(23)])), 123);
    t.equal(store.spoolBytes, 0, "a blob now, whoever still reads the spool");
    await running.release();
    t.equal(store.spoolBytes, 0);
  },
);

t.test("what cannot be swept is counted until it can", async (t) => {
  const directory = t.testdir();
  const store = await openStore(t, directory);
  const left = join(directory, "spool", `${"a".repeat(32)}.part`);
  // A directory cannot be unlinked, not even by root.
  await mkdir(left);
  await writeFile(join(left, "inside"), "x");
  t.equal(await store.sweep(), 0);
  t.ok(store.spoolBytes > 0);
  await rm(left, { recursive: true });
  await store.sweep();
  t.equal(store.spoolBytes, 0);
});

t.test("the quarantine keeps its bounds, the newest blobs first, also over a restart", async (t) => {
  const directory = t.testdir();
  const first = await openDiskStore({ directory, quarantineBytes: () => 2_500 });
  const digests = [];
  for (const seed of [1, 2, 3]) {
    const digest = await putBlob(first, someBytes(1_000, seed));
    digests.push(digest);
    await first.quarantine(digest);
  }
  const names = digests.map((digest) => digest.replace(":", "-"));
  t.same((await readdir(join(directory, "quarantine"))).sort(), names.slice(1).sort());
  t.same(first.quarantined, { files: 2, bytes: 2_000 });
  const large = await putBlob(first, someBytes(2_501, 4));
  t.equal(await first.quarantine(large), true);
  t.same(first.quarantined, { files: 2, bytes: 2_000 }, "what is larger than all of it is not kept");
  t.equal(await getBlob(first, large), undefined);
  for (let seed = 10; seed < 50; seed++) await first.quarantine(await putBlob(first, someBytes(1, seed)));
  t.same(first.quarantined.files, 32);
  await first.close();
  await writeFile(join(directory, "quarantine/notes.txt"), "not ours");
  const second = await openStore(t, directory);
  t.same(second.quarantined, first.quarantined);
});
