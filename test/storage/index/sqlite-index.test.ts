import { existsSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import t from "tap";
import { type Digest, makeDigest } from "../../../src/oci/digest.ts";
import type { Tag } from "../../../src/oci/name.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { openIndex, type SqliteIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { requires } from "../../system/fixtures/requires.ts";
import { mountSmallDisk, smallDiskPrograms } from "../../system/fixtures/small-disk.ts";
import { workDirectory } from "../../system/fixtures/work-directory.ts";
import { cleanIndex, digest, now, openHere, repository } from "../fixtures/clean-index.ts";
import { startWorker } from "../fixtures/kill-worker.ts";

t.test("everything is there after a clean stop, and nothing needs repair", async (t) => {
  const directory = join(await workDirectory(t), "not/yet/there");
  await cleanIndex(directory);
  const index = openHere(t, directory);
  t.equal(index.loss, undefined);
  t.equal(index.needsReconcile, false);
  t.same(index.blobs.totals(), { bytes: 4950, count: 100 });
  t.match(await index.tags.get({ upstream: "hub", repository }, "1" as Tag), {
    digest: digest(1),
    checkedAt: now,
  });
});

t.test("when the table may be wrong", async (t) => {
  await t.test("a first start", async (t) => {
    t.equal(openHere(t, await workDirectory(t)).needsReconcile, true);
  });

  await t.test("a clean stop before the repair was done", async (t) => {
    const directory = await workDirectory(t);
    openIndex({ directory, clock: () => now }).close();
    t.equal(openHere(t, directory).needsReconcile, true);
  });

  await t.test("a clean stop after something changed the store", async (t) => {
    const directory = await workDirectory(t);
    await cleanIndex(directory);
    const index = openIndex({ directory, clock: () => now });
    index.requireReconcile();
    index.close();
    t.equal(openHere(t, directory).needsReconcile, true);
  });

  await t.test("kill -9", async (t) => {
    const directory = await workDirectory(t);
    await cleanIndex(directory);
    const child = await startWorker(t, directory, 1, 10);
    await child.stop("SIGKILL");
    const index = openHere(t, directory);
    t.equal(index.needsReconcile, true);
    t.equal(index.loss, undefined);
    t.ok(index.blobs.totals().count >= 1, "what was written before is there");
    t.match(await index.tags.get({ upstream: "hub", repository }, "1" as Tag), { digest: digest(1) });
  });

  await t.test("the index was deleted", async (t) => {
    const directory = await workDirectory(t);
    await cleanIndex(directory);
    await rm(join(directory, "index.db"));
    const index = openHere(t, directory);
    t.equal(index.needsReconcile, true);
    t.match(index.loss, { reason: "it is missing or empty", copiedAt: undefined }, "and that is told");
    t.same(index.blobs.totals(), { bytes: 0, count: 0 });
  });
});

t.test("an index that cannot be read is moved aside", async (t) => {
  const foreign = (sql: string) => async (file: string) => {
    await rm(file);
    const database = new DatabaseSync(file);
    database.exec(sql);
    database.close();
  };
  const altered = (sql: string) => async (file: string) => {
    const database = new DatabaseSync(file);
    database.exec(sql);
    database.close();
  };
  const overwrite = (bytes: Buffer, at: number) => async (file: string) => {
    const handle = await open(file, "r+");
    await handle.write(bytes, 0, bytes.length, at);
    await handle.close();
  };
  const spoiled: Record<string, (file: string) => Promise<void>> = {
    "no database at all": (file) => writeFile(file, "once upon a time ".repeat(1000)),
    "a spoiled header": overwrite(Buffer.alloc(100, 0xee), 0),
    "a spoiled first page": overwrite(Buffer.alloc(3000, 0xee), 100),
    "another program's": foreign("CREATE TABLE things (id INTEGER)"),
    "one whose trigger is gone": altered("DROP TRIGGER blob_added"),
    "one whose table is gone": altered("DROP TABLE children"),
    "one with another table": altered("CREATE TABLE things (id INTEGER)"),
    "one whose table lacks a column": altered("ALTER TABLE blobs DROP COLUMN media_type"),
    "one without a version": overwrite(Buffer.from([0, 0, 0, 0]), 60),
  };
  for (const [name, spoil] of Object.entries(spoiled))
    await t.test(name, async (t) => {
      const directory = await workDirectory(t);
      await writeFile(join(directory, "index.db.corrupt-1"), "an earlier one");
      const file = join(directory, "index.db");
      await cleanIndex(directory);
      await spoil(file);
      const bytes = await readFile(file);
      const index = openHere(t, directory);
      t.ok(index.loss);
      t.equal(index.needsReconcile, true);
      t.same(index.blobs.totals(), { bytes: 0, count: 0 });
      const aside = (await readdir(directory)).filter((each) => each.includes("corrupt"));
      t.same(aside, [`index.db.corrupt-${now}`], "only the newest is kept");
      t.ok((await readFile(join(directory, `index.db.corrupt-${now}`))).equals(bytes), "as it was");
      index.blobs.add(digest("a"), 1, undefined, 1);
      t.equal(index.blobs.get(digest("a"))?.size, 1, "the new one works");
      index.reconciled();
      index.close();
      t.equal(openHere(t, directory).loss, undefined);
    });
});

t.test("an index of a later version refuses the start and stays as it is", async (t) => {
  const directory = await workDirectory(t);
  await cleanIndex(directory);
  const file = join(directory, "index.db");
  const later = new DatabaseSync(file);
  later.exec("CREATE TABLE of_the_future (id INTEGER); PRAGMA user_version = 99");
  later.close();
  const bytes = await readFile(file);
  for (const start of ["first", "second"])
    t.throws(
      () => openIndex({ directory, clock: () => now }),
      {
        name: "StoreError",
        code: "unavailable",
        message: /index\.db: a later entrepot wrote it, in version 99; /,
      },
      start,
    );
  t.ok((await readFile(file)).equals(bytes));
  t.same((await readdir(directory)).sort(), ["index.clean", "index.db", "index.lock"]);
});

t.test("the log of a file moved aside goes with it", async (t) => {
  const directory = await workDirectory(t);
  const child = await startWorker(t, directory, 1, 20);
  await child.stop("SIGKILL");
  t.ok((await stat(join(directory, "index.db-wal"))).size > 0, "the killed process left one");
  await writeFile(join(directory, "index.db.damaged"), "");
  const index = openHere(t, directory);
  t.ok(index.loss);
  t.same(index.blobs.totals(), { bytes: 0, count: 0 }, "not played into the new file");
  t.ok((await stat(join(directory, `index.db.corrupt-${now}-wal`))).size > 0);
});

t.test("damage met while running is an error now and a new index at the next start", async (t) => {
  const directory = await workDirectory(t);
  await cleanIndex(directory, 5000);
  const file = join(directory, "index.db");
  const { size } = await stat(file);
  const handle = await open(file, "r+");
  // All but the first pages, which an opening reads.
  await handle.write(Buffer.alloc(size - 200_000, 0xee), 0, size - 200_000, 200_000);
  await handle.close();
  const index = openIndex({ directory, clock: () => now });
  t.equal(index.loss, undefined, "opening does not read that far");
  const lookUp = (): void => {
    for (let at = 0; at < 5000; at++) index.blobs.get(digest(at));
  };
  t.throws(lookUp, { name: "StoreError", code: "io" }, "not a miss");
  index.reconciled();
  index.close();
  const next = openHere(t, directory);
  t.ok(next.loss);
  t.equal(next.needsReconcile, true);
  next.reconciled();
  next.close();
  t.equal(openHere(t, directory).loss, undefined, "once");
});

t.test("one index per directory", async (t) => {
  const message = /cache directory .* is in use by another process/;
  const refusal = { name: "StoreError", code: "unavailable", message };

  await t.test("in one process", async (t) => {
    const directory = await workDirectory(t);
    const index = openIndex({ directory, clock: () => now });
    t.throws(() => openIndex({ directory, clock: () => now }), refusal);
    index.blobs.add(digest("a"), 1, undefined, 1);
    index.close();
    t.equal(openHere(t, directory).blobs.totals().count, 1);
  });

  await t.test("in two; and what the first one spoiled is not taken from it", async (t) => {
    const directory = await workDirectory(t);
    const child = await startWorker(t, directory, 1, 1);
    await writeFile(join(directory, "index.db.damaged"), "");
    t.throws(() => openIndex({ directory, clock: () => now }), refusal);
    t.same(
      (await readdir(directory)).filter((name) => name.includes("corrupt")),
      [],
    );
    await child.stop("SIGKILL");
    t.ok(openHere(t, directory).loss);
  });

  await t.test("also against another program that has the file", async (t) => {
    const directory = await workDirectory(t);
    await cleanIndex(directory);
    const other = new DatabaseSync(join(directory, "index.db"));
    other.exec("BEGIN EXCLUSIVE");
    t.throws(() => openIndex({ directory, clock: () => now }), refusal);
    other.exec("ROLLBACK");
    other.close();
    t.equal(openHere(t, directory).needsReconcile, false, "and nothing was lost by trying");
  });
});

t.test("a directory that cannot be used", async (t) => {
  const directory = t.testdir({ file: "", taken: { "index.db": {} } });
  for (const name of ["file", "file/below", "taken"]) {
    const path = join(directory, name);
    t.throws(() => openIndex({ directory: path, clock: () => now }), {
      name: "StoreError",
      message: new RegExp(`cannot .*${path}`),
    });
  }
});

t.test("a full disk", async (t) => {
  if (!requires(t, ...smallDiskPrograms)) return;
  const directory = await mountSmallDisk(t, 1);
  const noSpace = { name: "StoreError", code: "no_space" };
  const descriptors = readdirSync("/proc/self/fd").length;
  await cleanIndex(directory);

  const fill = async (): Promise<void> => {
    for (let size = 65_536; size >= 1; size >>= 1)
      try {
        for (;;) await writeFile(join(directory, "ballast"), Buffer.alloc(size), { flag: "a", flush: true });
      } catch {
        // Full for this size; the next is half of it.
      }
  };

  await t.test("the index opens, reads, and says that it cannot write", async (t) => {
    await fill();
    const notices: Notice[] = [];
    const index = openIndex({ directory, clock: () => now, notice: (notice) => notices.push(notice) });
    t.equal(index.needsReconcile, false);
    t.equal(index.blobs.get(digest(5))?.size, 5);
    t.throws(() => index.blobs.add(digest("new"), 1, undefined, 1), noSpace);
    await t.rejects(
      index.links.add({ upstream: "hub", repository }, [{ digest: digest("new"), size: 1 }]),
      noSpace,
    );
    t.equal(index.blobs.get(digest("new")), undefined);
    t.equal(index.blobs.totals().count, 100);
    for (let at = 0; at < 1000; at++) index.blobs.touch(digest(at), now);
    t.match(notices, [{ kind: "store_error", op: "touch", code: "no_space" }]);
    await rm(join(directory, "ballast"));
    index.blobs.add(digest("new"), 1, undefined, 1);
    t.equal(index.blobs.totals().count, 101, "it works again when there is room");
    index.close();
  });

  await t.test("a change that was lost makes the next start repair the table", async (t) => {
    const index = openIndex({ directory, clock: () => now });
    t.equal(index.needsReconcile, true);
    index.close();
  });
  t.equal(readdirSync("/proc/self/fd").length, descriptors, "no descriptor is left open");
});

t.test("100,000 blobs", async (t) => {
  const directory = await workDirectory(t);
  const made = (at: number): Digest => makeDigest("sha256", at.toString(16).padStart(8, "0").repeat(8));
  const timed = <Result>(what: string, times: number, work: () => Result): Result => {
    const start = performance.now();
    const result = work();
    t.comment(`${what}: ${(((performance.now() - start) * 1000) / times).toFixed(1)} microseconds each`);
    return result;
  };
  const rows = 100_000;
  const first = openIndex({ directory, clock: () => now });
  timed("add", rows, () =>
    first.transaction(() => {
      for (let at = 0; at < rows; at++) first.blobs.add(made(at), at, undefined, now - rows + at);
    }),
  );
  first.reconciled();
  first.close();
  const index = timed("open", 1, () => openHere(t, directory));
  t.same(index.blobs.totals(), { bytes: (rows * (rows - 1)) / 2, count: rows });
  timed("get", 10_000, () => {
    for (let at = 0; at < 10_000; at++) index.blobs.get(made(at * 7));
  });
  timed("touch", 10_000, () => {
    for (let at = 0; at < 10_000; at++) index.blobs.touch(made(at), now + 1000);
  });
  const victims = timed("least worth", 1000, () => index.blobs.leastWorth("small", 1000));
  t.equal(victims[0]?.digest, made(10_000), "the first that was not touched");
  timed("remove", 1000, () => {
    for (const victim of victims) index.blobs.remove(victim.digest);
  });
  t.equal(index.blobs.totals().count, rows - 1000);
});

t.test("what was stored since the last clean stop is doubted after a crash, and nothing older", async (t) => {
  const directory = t.testdir();
  const [old, young] = [digestOf(Buffer.from("old")), digestOf(Buffer.from("young"))];
  const times = (index: SqliteIndex) => [old, young].map((each) => index.blobs.get(each)?.checkedAt);
  const first = openIndex({ directory, clock: () => now });
  first.blobs.add(old, 1, undefined, now - 1000, now - 1000);
  first.reconciled();
  first.close();
  const second = openIndex({ directory, clock: () => now + 500_000 });
  t.same(times(second), [now - 1000, undefined], "a clean stop leaves no doubt");
  second.blobs.add(young, 1, undefined, now + 1000, now + 1000);
  t.equal(statSync(join(directory, "index.used")).mtimeMs, now, "the time of the clean stop");
  second.close();
  // As a killed process leaves it: the rows, and the mark of use.
  rmSync(join(directory, "index.clean"));
  writeFileSync(join(directory, "index.used"), "");
  utimesSync(join(directory, "index.used"), now / 1000, now / 1000);
  const third = openIndex({ directory, clock: () => now + 600_000 });
  t.equal(third.needsReconcile, true);
  t.same(times(third), [now - 1000, undefined]);
  third.close();
});

t.test("an hourly copy moves the time from which on is doubted", async (t) => {
  const directory = t.testdir();
  let time = now;
  const index = openIndex({ directory, clock: () => time });
  t.equal(statSync(join(directory, "index.used")).mtimeMs, now, "since the first start");
  time += 3_600_000;
  await index.copy("here");
  t.equal(statSync(join(directory, "index.used")).mtimeMs, time - 60_000);
  index.reconciled();
  index.close();
  t.same(existsSync(join(directory, "index.used")), false);
  t.equal(statSync(join(directory, "index.clean")).mtimeMs, time);
});
