import { open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import t from "tap";
import type { Tag } from "../../../src/oci/name.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { openIndex, type SqliteIndex } from "../../../src/storage/index/sqlite-index.ts";
import { workDirectory } from "../../system/fixtures/work-directory.ts";
import { cleanIndex, digest, now, openHere, repository } from "../fixtures/clean-index.ts";

const spoil = (directory: string) => writeFile(join(directory, "index.db"), "once upon a time ".repeat(1000));
const tag = (index: SqliteIndex) => index.tags.get({ upstream: "hub", repository }, "1" as Tag);
const copied = async (directory: string): Promise<void> => {
  await cleanIndex(directory);
  const index = openIndex({ directory, clock: () => now });
  t.equal(index.changed, true, "there is none yet");
  await index.copy();
  t.equal(index.changed, false);
  index.reconciled();
  index.close();
};

t.test("the copy is used when the index cannot be read, and that is told", async (t) => {
  const directory = await workDirectory(t);
  await copied(directory);
  t.same((await readdir(directory)).sort(), ["index.clean", "index.db", "index.db.copy", "index.lock"]);
  await spoil(directory);
  const notices: Notice[] = [];
  const index = openIndex({ directory, clock: () => now, notice: (notice) => notices.push(notice) });
  t.teardown(() => index.close());
  t.match(await tag(index), { digest: digest(1) });
  t.same(index.blobs.totals(), { bytes: 4950, count: 100 });
  t.equal(index.needsReconcile, true, "it is not of the last moment");
  t.match(notices, [{ kind: "index_lost", reason: /not a database/, copiedAt: Number }]);
  t.equal(index.changed, true, "it is no copy any more");
  await index.copy();
});

t.test("the copy is used when the index is gone or empty", async (t) => {
  for (const gone of [rm, (file: string) => writeFile(file, "")]) {
    const directory = await workDirectory(t);
    await copied(directory);
    await gone(join(directory, "index.db"));
    const index = openHere(t, directory);
    t.match(index.loss, { reason: "it is missing or empty", copiedAt: Number });
    t.match(await tag(index), { digest: digest(1) });
  }
});

t.test("the copy is used when the schema of the index is torn", async (t) => {
  const directory = await workDirectory(t);
  await copied(directory);
  const database = new DatabaseSync(join(directory, "index.db"));
  database.exec("DROP TRIGGER link_removed");
  database.close();
  const index = openHere(t, directory);
  t.match(index.loss, { reason: /link_removed is missing/, copiedAt: Number });
  t.match(await tag(index), { digest: digest(1) });
});

t.test("the copy is used when damage was met while running", async (t) => {
  const directory = await workDirectory(t);
  await copied(directory);
  await writeFile(join(directory, "index.db.damaged"), "");
  t.match(await tag(openHere(t, directory)), { digest: digest(1) });
});

t.test("the copy is not used when it is no good either: spoiled, or of a later version", async (t) => {
  const later = (file: string): void => {
    const database = new DatabaseSync(file);
    database.exec("PRAGMA user_version = 99");
    database.close();
  };
  for (const spoilCopy of [later, (file: string) => writeFile(file, "x".repeat(10_000))]) {
    const directory = await workDirectory(t);
    await copied(directory);
    await spoil(directory);
    await spoilCopy(join(directory, "index.db.copy"));
    const index = openHere(t, directory);
    t.match(index.loss, { reason: /not a database; nor its copy: /, copiedAt: undefined });
    t.equal(await tag(index), undefined);
    index.blobs.add(digest("a"), 1, undefined, 1);
    index.reconciled();
    index.close();
    t.equal(openHere(t, directory).loss, undefined, "once");
  }
});

t.test("the copy is not replaced by one of a damaged index, and the next start uses it", async (t) => {
  const directory = await workDirectory(t);
  await cleanIndex(directory, 5000);
  const index = openIndex({ directory, clock: () => now });
  await index.copy();
  index.close();
  const file = join(directory, "index.db");
  const { size } = await stat(file);
  const handle = await open(file, "r+");
  // Rows alone: what opening reads, the schema and the first pages of each table, is at the beginning.
  const half = Math.floor(size / 2);
  await handle.write(Buffer.alloc(half, 0xee), 0, half, size - half);
  await handle.close();
  const good = await readFile(join(directory, "index.db.copy"));
  const notices: Notice[] = [];
  const damaged = openIndex({ directory, clock: () => now, notice: (notice) => notices.push(notice) });
  await t.rejects(damaged.copy(), { name: "StoreError", code: "io" });
  t.match(notices, [{ kind: "store_error", op: "index.damaged" }]);
  damaged.close();
  t.ok((await readFile(join(directory, "index.db.copy"))).equals(good));
  t.notOk((await readdir(directory)).includes("index.db.copy.part"));
  const next = openHere(t, directory);
  t.match(next.loss, { copiedAt: Number });
  t.match(await tag(next), { digest: digest(1) });
  t.equal(next.blobs.totals().count, 5000);
});

t.test("the copy has all that was written before it began, and is whole while others write", async (t) => {
  const directory = await workDirectory(t);
  await cleanIndex(directory, 20_000);
  const index = openIndex({ directory, clock: () => now });
  index.blobs.add(digest("before"), 1, undefined, 1);
  const copying = index.copy();
  let over = false;
  const end = copying.finally(() => {
    over = true;
  });
  let written = 0;
  for (; !over; written++) {
    index.blobs.add(digest(`during ${written}`), 1, undefined, 1);
    await new Promise(setImmediate);
  }
  await end;
  index.close();
  await spoil(directory);
  const next = openHere(t, directory);
  t.ok(next.blobs.get(digest("before")));
  const { count } = next.blobs.totals();
  t.ok(count > 20_000 && count <= 20_001 + written, `${count} of ${20_001 + written}`);
});

t.test("the copy under way at a close ends, and leaves nothing", async (t) => {
  const directory = await workDirectory(t);
  await copied(directory);
  const before = await stat(join(directory, "index.db.copy"));
  const index = openIndex({ directory, clock: () => now });
  index.blobs.add(digest("more"), 1, undefined, 1);
  const copying = index.copy();
  index.close();
  await copying;
  t.equal((await stat(join(directory, "index.db.copy"))).ino, before.ino, "the old one");
  t.notOk((await readdir(directory)).includes("index.db.copy.part"));
});
